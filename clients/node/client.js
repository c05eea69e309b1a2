/** Goes through the contract as a program would: from a bad template to a deployment that is gone again. */
import { readFileSync } from 'node:fs';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import { protoPath as healthProto } from 'grpc-health-check';
import { expect, refused } from './refusals.js';

const NAMESPACES = ['node-1', 'node-2'];
const { PANAMAX_SERVER, PANAMAX_CA_FILE, PANAMAX_TOKEN } = process.env;
const bad = readFileSync('bad.pmx', 'utf8');
const notes = readFileSync('notes.pmx', 'utf8');

// Names as the contract has them, and enums as names.
const reading = { includeDirs: ['proto'], keepCase: true, enums: String, defaults: true, oneofs: true };
const load = (...files) => grpc.loadPackageDefinition(loader.loadSync(files, reading));
const services = ['deployment', 'template'].map((name) => `panamax/kubernetes/v1/${name}_service.proto`);
const { DeploymentService, TemplateService } = load(...services).panamax.kubernetes.v1;
const { Health } = load(healthProto).grpc.health.v1;

function connect(Service, token) {
  let credentials = grpc.credentials.createSsl(readFileSync(PANAMAX_CA_FILE));
  if (token) {
    const metadata = new grpc.Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    const bearer = grpc.credentials.createFromMetadataGenerator((_, give) => give(null, metadata));
    credentials = grpc.credentials.combineChannelCredentials(credentials, bearer);
  }
  const options = { 'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip };
  return new Service(PANAMAX_SERVER, credentials, options);
}

const deadline = (seconds) => ({ deadline: Date.now() + seconds * 1000 });
const call = (client, method, request, seconds = 30) =>
  new Promise((resolve, reject) =>
    client[method](request, deadline(seconds), (error, answer) => (error ? reject(error) : resolve(answer))));

/** Watches until the stream ends; answers the last state, and why the stream ended. */
async function watch(client, request, seconds) {
  const seen = {};
  for await (const { event, snapshot, complete } of client.WatchDeployment(request, deadline(seconds))) {
    if (event === 'complete') seen.reason = complete.reason.replace('WATCH_COMPLETE_REASON_', '');
    if (event !== 'snapshot') continue;
    seen.state = snapshot.state;
    console.log(`${snapshot.namespace}: ${snapshot.state} ${snapshot.message}`);
  }
  return seen;
}

process.on('uncaughtException', (error) => {
  console.error(`node: ${error.message}`);
  process.exit(1);
});

// Health is asked without credentials.
const health = await call(connect(Health), 'Check', {});
expect(health.status === 'SERVING', `the server is ${health.status}`);
const deployments = connect(DeploymentService, PANAMAX_TOKEN);

const verdict = await call(connect(TemplateService, PANAMAX_TOKEN), 'ValidateTemplate', { template_yaml: bad });
for (const { line, column, severity, code, message, hint } of verdict.diagnostics) {
  console.log(`bad.pmx:${line}:${column}: ${severity} ${code}: ${message} (${hint})`);
}
const missing = verdict.diagnostics.find(({ code }) => code === 'LINK_TARGET_MISSING');
expect(!verdict.valid && missing?.line === 6, `the missing link is not told at line 6, but at ${missing?.line}`);
const wrong = { namespace: NAMESPACES[0], template_yaml: bad };
const fields = await refused(call(deployments, 'Deploy', wrong), grpc.status.INVALID_ARGUMENT, 'TEMPLATE_INVALID');
expect(fields.includes('images[0].links[0].service'), `the fields at fault are ${fields}`);
if (PANAMAX_TOKEN) {
  const stranger = connect(DeploymentService, 'a-token-that-nobody-has');
  await refused(call(stranger, 'Deploy', wrong), grpc.status.UNAUTHENTICATED, 'CREDENTIALS_INVALID');
}

const options = { profile: 'PROFILE_MODERN', create_namespace: true, labels: { client: 'node' } };
for (const namespace of NAMESPACES) {
  const { outcome } = await call(deployments, 'Deploy', { namespace, template_yaml: notes, options });
  expect(outcome === 'DEPLOY_OUTCOME_CREATED', `${namespace} has notes already`);
  const { state, reason } = await watch(deployments, { namespace, name: 'notes', until: 'WATCH_UNTIL_SETTLED' }, 120);
  expect(reason === 'SETTLED' && state === 'DEPLOYMENT_STATE_ACTIVE', `the watch ended ${reason} with ${state}`);
}
const name = { namespace: NAMESPACES[0], name: 'notes' };
const scaled = await call(deployments, 'Scale', { ...name, replicas: { Web: 3 }, wait: 'WAIT_MODE_READY' }, 60);
const ready = scaled.deployment.components.map((one) => `${one.image_name} ${one.ready_replicas}`).join();
expect(ready === 'Web 3,Store 1', `after scaling, ${ready} are ready`);
const pages = [];
for (let page_token = ''; pages.length === 0 || page_token; ) {
  const page = { namespace: '-', page_size: 1, page_token, label_selector: 'client=node' };
  const { deployments: listed, next_page_token } = await call(deployments, 'ListDeployments', page);
  pages.push(listed.map(({ namespace }) => namespace).join('+'));
  page_token = next_page_token;
}
expect(pages.join() === NAMESPACES.join(), `the pages are ${pages}`);
const ended = await watch(deployments, { ...name, until: 'WATCH_UNTIL_GONE' }, 2);
expect(ended.reason === 'DEADLINE', `the watch ended with ${ended.reason}, not with its deadline`);
for (const namespace of NAMESPACES) {
  const { complete } = await call(deployments, 'Teardown', { namespace, name: 'notes', wait: 'TEARDOWN_WAIT_GONE' });
  expect(complete, `something of notes is left in ${namespace}`);
  const get = call(deployments, 'GetDeployment', { namespace, name: 'notes' });
  await refused(get, grpc.status.NOT_FOUND, 'DEPLOYMENT_NOT_FOUND');
}
process.exit();
