/** Goes through the contract as a program would: from a bad template to a deployment that is gone again. */
import { readFileSync } from "node:fs";
import { Code, createClient, type Interceptor } from "@connectrpc/connect";
import { compressionGzip, createGrpcTransport } from "@connectrpc/connect-node";
import { HealthCheckResponse_ServingStatus as Serving, Health } from "./generated/health/v1/health_pb.js";
import { DeploymentState, Profile } from "./generated/panamax/kubernetes/v1/deployment_pb.js";
import * as calls from "./generated/panamax/kubernetes/v1/deployment_service_pb.js";
import { Severity } from "./generated/panamax/kubernetes/v1/error_pb.js";
import { TemplateService } from "./generated/panamax/kubernetes/v1/template_service_pb.js";
import { expect, refused } from "./refusals.js";

const namespaces = ["typescript-1", "typescript-2"];
const template = (file: string) => ({ case: "templateYaml", value: readFileSync(file, "utf8") }) as const;
const token = process.env.PANAMAX_TOKEN;

function transport(bearer?: string) {
  const authorize: Interceptor = (next) => (request) => {
    if (bearer) request.header.set("authorization", `Bearer ${bearer}`);
    return next(request);
  };
  return createGrpcTransport({
    baseUrl: `https://${process.env.PANAMAX_SERVER}`,
    nodeOptions: { ca: readFileSync(process.env.PANAMAX_CA_FILE!) },
    sendCompression: compressionGzip,
    compressMinBytes: 0,
    interceptors: [authorize],
    defaultTimeoutMs: 30_000,
  });
}

async function main() {
  // Health is asked without credentials.
  const { status } = await createClient(Health, transport()).check({});
  expect(status === Serving.SERVING, `the server is ${Serving[status]}`);
  const server = transport(token);
  const deployments = createClient(calls.DeploymentService, server);

  const verdict = await createClient(TemplateService, server).validateTemplate({ templateSource: template("bad.pmx") });
  for (const found of verdict.diagnostics) {
    const place = `bad.pmx:${found.line}:${found.column}`;
    console.log(`${place}: ${Severity[found.severity]} ${found.code}: ${found.message} (${found.hint})`);
  }
  const missing = verdict.diagnostics.find((found) => found.code === "LINK_TARGET_MISSING");
  expect(!verdict.valid && missing?.line === 6, `the missing link is not told at line 6, but at ${missing?.line}`);
  const bad = { namespace: namespaces[0], templateSource: template("bad.pmx") };
  const fields = await refused(deployments.deploy(bad), Code.InvalidArgument, "TEMPLATE_INVALID");
  expect(fields.includes("images[0].links[0].service"), `the fields at fault are ${fields}`);
  if (token) {
    const stranger = createClient(calls.DeploymentService, transport("a-token-that-nobody-has"));
    await refused(stranger.deploy(bad), Code.Unauthenticated, "CREDENTIALS_INVALID");
  }

  const options = { profile: Profile.MODERN, createNamespace: true, labels: { client: "typescript" } };
  for (const namespace of namespaces) {
    const { outcome } = await deployments.deploy({ namespace, templateSource: template("notes.pmx"), options });
    expect(outcome === calls.DeployOutcome.CREATED, `${namespace} has notes already`);
    const watch = { namespace, name: "notes", until: calls.WatchUntil.SETTLED };
    let [state, reason]: [DeploymentState?, calls.WatchCompleteReason?] = [];
    for await (const { event } of deployments.watchDeployment(watch, { timeoutMs: 120_000 })) {
      if (event.case === "complete") reason = event.value.reason;
      if (event.case !== "snapshot") continue;
      state = event.value.state;
      console.log(`${namespace}: ${DeploymentState[state]} ${event.value.message}`);
    }
    expect(reason === calls.WatchCompleteReason.SETTLED, "the watch did not end because all had settled");
    expect(state === DeploymentState.ACTIVE, "what was deployed is not active");
  }

  const name = { namespace: namespaces[0], name: "notes" };
  const three = { ...name, replicas: { Web: 3 }, wait: calls.WaitMode.READY };
  const scaled = await deployments.scale(three, { timeoutMs: 60_000 });
  const ready = scaled.deployment?.components.map((one) => `${one.imageName} ${one.readyReplicas}`).join();
  expect(ready === "Web 3,Store 1", `after scaling, ${ready} are ready`);
  const pages: string[] = [];
  let pageToken = "";
  do {
    const request = { namespace: "-", pageSize: 1, pageToken, labelSelector: "client=typescript" };
    const page = await deployments.listDeployments(request);
    pages.push(page.deployments.map((one) => one.namespace).join("+"));
    pageToken = page.nextPageToken;
  } while (pageToken);
  expect(pages.join() === namespaces.join(), `the pages are ${pages}`);
  let ended: calls.WatchCompleteReason | undefined;
  const gone = { ...name, until: calls.WatchUntil.GONE };
  for await (const { event } of deployments.watchDeployment(gone, { timeoutMs: 2_000 })) {
    if (event.case === "complete") ended = event.value.reason;
  }
  expect(ended === calls.WatchCompleteReason.DEADLINE, "the watch did not end with its deadline");

  for (const namespace of namespaces) {
    const gone = { namespace, name: "notes", wait: calls.TeardownWait.GONE };
    expect((await deployments.teardown(gone)).complete, `something of notes is left in ${namespace}`);
    await refused(deployments.getDeployment({ namespace, name: "notes" }), Code.NotFound, "DEPLOYMENT_NOT_FOUND");
  }
}

main().catch((error) => {
  console.error(`typescript: ${error.message}`);
  process.exit(1);
});
