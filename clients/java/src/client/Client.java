package client;

import static client.Refusals.expect;
import static client.Refusals.refused;
import static java.util.concurrent.TimeUnit.SECONDS;

import io.grpc.*;
import io.grpc.health.v1.*;
import io.grpc.stub.MetadataUtils;
import io.panamax.kubernetes.v1.*;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.*;

/** Goes through the contract as a program would: from a bad template to a deployment that is gone again. */
public final class Client {
  static final List<String> NAMESPACES = List.of("java-1", "java-2");

  /** Puts a token before each call. */
  static ClientInterceptor bearer(String token) {
    var headers = new Metadata();
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    return MetadataUtils.newAttachHeadersInterceptor(headers);
  }

  static void goThrough(Channel server, String token) throws Exception {
    var probe = HealthGrpc.newBlockingStub(server).withDeadlineAfter(5, SECONDS);
    var health = probe.check(HealthCheckRequest.getDefaultInstance());
    expect(health.getStatus() == HealthCheckResponse.ServingStatus.SERVING, "the server is %s", health.getStatus());
    var authorized = token == null ? server : ClientInterceptors.intercept(server, bearer(token));
    var deployments = DeploymentServiceGrpc.newBlockingStub(authorized).withCompression("gzip");
    var templates = TemplateServiceGrpc.newBlockingStub(authorized).withCompression("gzip");
    String bad = Files.readString(Path.of("bad.pmx")), notes = Files.readString(Path.of("notes.pmx"));

    var verdict = templates.withDeadlineAfter(5, SECONDS)
        .validateTemplate(ValidateTemplateRequest.newBuilder().setTemplateYaml(bad).build());
    for (var found : verdict.getDiagnosticsList()) {
      System.out.printf("bad.pmx:%d:%d: %s %s: %s (%s)%n", found.getLine(), found.getColumn(), found.getSeverity(),
          found.getCode(), found.getMessage(), found.getHint());
    }
    expect(!verdict.getValid() && verdict.getDiagnosticsList().stream()
        .anyMatch(found -> found.getCode().equals("LINK_TARGET_MISSING") && found.getLine() == 6),
        "the missing link is not told at line 6");
    var wrong = DeployRequest.newBuilder().setNamespace("java-1").setTemplateYaml(bad).build();
    var soon = deployments.withDeadlineAfter(5, SECONDS);
    var fields = refused(() -> soon.deploy(wrong), Status.Code.INVALID_ARGUMENT, "TEMPLATE_INVALID");
    expect(fields.contains("images[0].links[0].service"), "the fields at fault are %s", fields);
    if (token != null) {
      var stranger = DeploymentServiceGrpc.newBlockingStub(server).withDeadlineAfter(5, SECONDS)
          .withInterceptors(bearer("a-token-that-nobody-has"));
      refused(() -> stranger.deploy(wrong), Status.Code.UNAUTHENTICATED, "CREDENTIALS_INVALID");
    }

    var options = DeployOptions.newBuilder()
        .setProfile(Profile.PROFILE_MODERN).setCreateNamespace(true).putLabels("client", "java");
    for (var namespace : NAMESPACES) {
      var deployed = deployments.withDeadlineAfter(30, SECONDS).deploy(
          DeployRequest.newBuilder().setNamespace(namespace).setTemplateYaml(notes).setOptions(options).build());
      expect(deployed.getOutcome() == DeployOutcome.DEPLOY_OUTCOME_CREATED, "%s has notes already", namespace);
      var settled = Watches.end(deployments.withDeadlineAfter(120, SECONDS), namespace, WatchUntil.WATCH_UNTIL_SETTLED);
      expect(settled.equals(Map.entry(DeploymentState.DEPLOYMENT_STATE_ACTIVE,
          WatchCompleteReason.WATCH_COMPLETE_REASON_SETTLED)), "the watch ended with %s", settled);
    }
    var scaled = deployments.withDeadlineAfter(60, SECONDS).scale(ScaleRequest.newBuilder().setNamespace("java-1")
        .setName("notes").putReplicas("Web", 3).setWait(WaitMode.WAIT_MODE_READY).build());
    var web = scaled.getDeployment().getComponents(0);
    expect(web.getReadyReplicas() == 3, "after scaling, %d are ready", web.getReadyReplicas());
    var pages = new ArrayList<String>();
    var page = ListDeploymentsRequest.newBuilder().setNamespace("-").setPageSize(1).setLabelSelector("client=java");
    do {
      var answer = deployments.withDeadlineAfter(5, SECONDS).listDeployments(page.build());
      pages.add(String.join("+", answer.getDeploymentsList().stream().map(Deployment::getNamespace).toList()));
      page.setPageToken(answer.getNextPageToken());
    } while (!page.getPageToken().isEmpty());
    expect(pages.equals(NAMESPACES), "the pages are %s", pages);
    var end = Watches.end(deployments.withDeadlineAfter(2, SECONDS), "java-1", WatchUntil.WATCH_UNTIL_GONE);
    expect(end.getValue() == WatchCompleteReason.WATCH_COMPLETE_REASON_DEADLINE, "the watch ended with %s", end);
    for (var namespace : NAMESPACES) {
      var client = deployments.withDeadlineAfter(60, SECONDS);
      var down = client.teardown(TeardownRequest.newBuilder()
          .setNamespace(namespace).setName("notes").setWait(TeardownWait.TEARDOWN_WAIT_GONE).build());
      expect(down.getComplete(), "something of notes is left in %s", namespace);
      var get = GetDeploymentRequest.newBuilder().setNamespace(namespace).setName("notes").build();
      refused(() -> client.getDeployment(get), Status.Code.NOT_FOUND, "DEPLOYMENT_NOT_FOUND");
    }
  }

  public static void main(String[] arguments) throws Exception {
    var authority = TlsChannelCredentials.newBuilder().trustManager(new File(System.getenv("PANAMAX_CA_FILE"))).build();
    var server = Grpc.newChannelBuilder(System.getenv("PANAMAX_SERVER"), authority).build();
    try {
      goThrough(server, System.getenv("PANAMAX_TOKEN"));
    } catch (StatusRuntimeException | IllegalStateException failure) {
      System.err.println("java: " + failure.getMessage());
      System.exit(1);
    }
    server.shutdown();
  }
}
