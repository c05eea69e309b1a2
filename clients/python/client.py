"""Goes through the contract as a program would: from a bad template to a deployment that is gone again."""
import os
from pathlib import Path

import grpc
from grpc import StatusCode as Code
from grpc_health.v1 import health_pb2, health_pb2_grpc

from panamax.kubernetes.v1 import deployment_pb2 as model
from panamax.kubernetes.v1 import deployment_service_pb2 as calls
from panamax.kubernetes.v1 import deployment_service_pb2_grpc, template_service_pb2, template_service_pb2_grpc
from panamax.kubernetes.v1.error_pb2 import Severity
from refusals import expect, refused

NAMESPACES = ["python-1", "python-2"]
BAD, NOTES = Path("bad.pmx").read_text(), Path("notes.pmx").read_text()


def channel(token=None):
    credentials = grpc.ssl_channel_credentials(Path(os.environ["PANAMAX_CA_FILE"]).read_bytes())
    if token:
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    return grpc.secure_channel(os.environ["PANAMAX_SERVER"], credentials, compression=grpc.Compression.Gzip)


def main():
    # Health is asked without credentials.
    health = health_pb2_grpc.HealthStub(channel())
    status = health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
    expect(status == health_pb2.HealthCheckResponse.SERVING, "the server is not serving")
    token = os.environ.get("PANAMAX_TOKEN")
    server = channel(token)
    templates = template_service_pb2_grpc.TemplateServiceStub(server)
    deployments = deployment_service_pb2_grpc.DeploymentServiceStub(server)

    verdict = templates.ValidateTemplate(template_service_pb2.ValidateTemplateRequest(template_yaml=BAD), timeout=5)
    for told in verdict.diagnostics:
        severity = Severity.Name(told.severity)
        print(f"bad.pmx:{told.line}:{told.column}: {severity} {told.code}: {told.message} ({told.hint})")
    found = {told.code: told.line for told in verdict.diagnostics}
    expect(not verdict.valid and found.get("LINK_TARGET_MISSING") == 6, f"line 6 lacks a link, but {found}")
    bad = calls.DeployRequest(namespace=NAMESPACES[0], template_yaml=BAD)
    fields = refused(lambda: deployments.Deploy(bad, timeout=5), Code.INVALID_ARGUMENT, "TEMPLATE_INVALID")
    expect("images[0].links[0].service" in fields, f"the fields at fault are {fields}")
    if token:
        stranger = deployment_service_pb2_grpc.DeploymentServiceStub(channel("a-token-that-nobody-has"))
        refused(lambda: stranger.Deploy(bad, timeout=5), Code.UNAUTHENTICATED, "CREDENTIALS_INVALID")

    options = model.DeployOptions(profile=model.PROFILE_MODERN, create_namespace=True, labels={"client": "python"})
    for namespace in NAMESPACES:
        request = calls.DeployRequest(namespace=namespace, template_yaml=NOTES, options=options)
        deployed = deployments.Deploy(request, timeout=30)
        expect(deployed.outcome == calls.DEPLOY_OUTCOME_CREATED, f"{namespace} has notes already")
        until = calls.WatchDeploymentRequest(namespace=namespace, name="notes", until=calls.WATCH_UNTIL_SETTLED)
        for message in deployments.WatchDeployment(until, timeout=120):
            if message.WhichOneof("event") == "snapshot":
                state = message.snapshot.state
                print(f"{namespace}: {model.DeploymentState.Name(state)} {message.snapshot.message}")
        expect(message.complete.reason == calls.WATCH_COMPLETE_REASON_SETTLED, "the watch ended before all had settled")
        expect(state == model.DEPLOYMENT_STATE_ACTIVE, "what was deployed is not active")

    scale = calls.ScaleRequest(namespace=NAMESPACES[0], name="notes", replicas={"Web": 3}, wait=calls.WAIT_MODE_READY)
    ready = {one.image_name: one.ready_replicas for one in deployments.Scale(scale, timeout=60).deployment.components}
    expect(ready == {"Web": 3, "Store": 1}, f"after scaling, {ready} are ready")
    page = calls.ListDeploymentsRequest(namespace="-", page_size=1, label_selector="client=python")
    pages = []
    while not pages or page.page_token:
        answer = deployments.ListDeployments(page, timeout=5)
        pages.append([one.namespace for one in answer.deployments])
        page.page_token = answer.next_page_token
    expect(pages == [[one] for one in NAMESPACES], f"the pages are {pages}")
    watch = calls.WatchDeploymentRequest(namespace=NAMESPACES[0], name="notes", until=calls.WATCH_UNTIL_GONE)
    last = list(deployments.WatchDeployment(watch, timeout=2))[-1]
    expect(last.complete.reason == calls.WATCH_COMPLETE_REASON_DEADLINE, "the watch did not end with its deadline")

    for namespace in NAMESPACES:
        gone = calls.TeardownRequest(namespace=namespace, name="notes", wait=calls.TEARDOWN_WAIT_GONE)
        expect(deployments.Teardown(gone, timeout=60).complete, f"something of notes is left in {namespace}")
        get = calls.GetDeploymentRequest(namespace=namespace, name="notes")
        refused(lambda: deployments.GetDeployment(get, timeout=5), Code.NOT_FOUND, "DEPLOYMENT_NOT_FOUND")


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        expect(False, f"a call failed with {error.code()}: {error.details()}")
