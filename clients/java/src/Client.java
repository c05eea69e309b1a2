import static java.util.concurrent.TimeUnit.SECONDS;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.*;
import io.grpc.health.v1.*;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import io.panamax.kubernetes.v1.*;
import java.io.File;
import java.nio.file.*;
import java.util.*;

/** Goes through the contract as a program would: from a bad template to a deployment that is gone again. */
public final class Client {
  static final List<String> NAMESPACES = List.of("java-1", "java-2");

  static void expect(boolean holds, String sentence, Object... values) {
    if (!holds) throw new IllegalStateException(sentence.formatted(values));
  }

  /** The fields at fault in a call that must fail with this code and reason. */
  static List<String> refused(Runnable call, Status.Code code, String reason) throws InvalidProtocolBufferException {
    try {
      call.run();
    } catch (StatusRuntimeException error) {
      expect(error.getStatus().getCode() == code, "the call failed with %s, not %s", error.getStatus(), code);
      var info = ErrorInfo.getDefaultInstance();
      var fields = new ArrayList<String>();
      for (var packed : StatusProto.fromThrowable(error).getDetailsList()) {
        if (packed.is(ErrorInfo.class)) info = packed.unpack(ErrorInfo.class);
        if (packed.is(BadRequest.class)) packed.unpack(BadRequest.class).getFieldViolationsList().forEach(one -> fields.add(one.getField()));
      }
      expect(info.getDomain().equals("panamax.kubernetes.v1"), "the domain is %s", info.getDomain());
      expect(info.getReason().equals(reason), "the reason is %s, not %s", info.getReason(), reason);
      return fields;
    }
    throw new IllegalStateException("a call succeeded that must fail with " + reason);
  }

  /** Watches until the stream ends; answers the last state, and why the stream ended. */
  static Map.Entry<DeploymentState, WatchCompleteReason> watch(
      DeploymentServiceGrpc.DeploymentServiceBlockingStub client, String namespace, WatchUntil until) {
    var request = WatchDeploymentRequest.newBuilder().setNamespace(namespace).setName("notes").setUntil(until);
    var state = DeploymentState.DEPLOYMENT_STATE_UNSPECIFIED;
    var reason = WatchCompleteReason.WATCH_COMPLETE_REASON_UNSPECIFIED;
    for (var messages = client.watchDeployment(request.build()); messages.hasNext(); ) {
      var message = messages.next();
      if (message.hasComplete()) reason = message.getComplete().getReason();
      if (!message.hasSnapshot()) continue;
      state = message.getSnapshot().getState();
      System.out.printf("%s: %s %s%n", namespace, state, message.getSnapshot().getMessage());
    }
    return Map.entry(state, reason);
  }

  static ClientInterceptor bearer(String token) {
    var headers = new Metadata();
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    return MetadataUtils.newAttachHeadersInterceptor(headers);
  }

  static void goThrough(Channel server, String token) throws Exception {
    var health = HealthGrpc.newBlockingStub(server).withDeadlineAfter(5, SECONDS).check(HealthCheckRequest.getDefaultInstance());
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
    var fields = refused(() -> deployments.withDeadlineAfter(5, SECONDS).deploy(wrong), Status.Code.INVALID_ARGUMENT, "TEMPLATE_INVALID");
    expect(fields.contains("images[0].links[0].service"), "the fields at fault are %s", fields);
    if (token != null) {
      var stranger = DeploymentServiceGrpc.newBlockingStub(server).withInterceptors(bearer("a-token-that-nobody-has"));
      refused(() -> stranger.withDeadlineAfter(5, SECONDS).deploy(wrong), Status.Code.UNAUTHENTICATED, "CREDENTIALS_INVALID");
    }

    var options = DeployOptions.newBuilder().setProfile(Profile.PROFILE_MODERN).setCreateNamespace(true).putLabels("client", "java");
    for (var namespace : NAMESPACES) {
      var deployed = deployments.withDeadlineAfter(30, SECONDS).deploy(
          DeployRequest.newBuilder().setNamespace(namespace).setTemplateYaml(notes).setOptions(options).build());
      expect(deployed.getOutcome() == DeployOutcome.DEPLOY_OUTCOME_CREATED, "%s has notes already", namespace);
      var end = watch(deployments.withDeadlineAfter(120, SECONDS), namespace, WatchUntil.WATCH_UNTIL_SETTLED);
      expect(end.getValue() == WatchCompleteReason.WATCH_COMPLETE_REASON_SETTLED, "the watch ended with %s", end.getValue());
      expect(end.getKey() == DeploymentState.DEPLOYMENT_STATE_ACTIVE, "what was deployed is %s", end.getKey());
    }
    var scaled = deployments.withDeadlineAfter(60, SECONDS).scale(ScaleRequest.newBuilder().setNamespace("java-1")
        .setName("notes").putReplicas("Web", 3).setWait(WaitMode.WAIT_MODE_READY).build());
    var web = scaled.getDeployment().getComponents(0);
    expect(web.getReadyReplicas() == 3, "after scaling, %d of %s are ready", web.getReadyReplicas(), web.getImageName());
    var pages = new ArrayList<String>();
    var page = ListDeploymentsRequest.newBuilder().setNamespace("-").setPageSize(1).setLabelSelector("client=java");
    do {
      var answer = deployments.withDeadlineAfter(5, SECONDS).listDeployments(page.build());
      pages.add(String.join("+", answer.getDeploymentsList().stream().map(Deployment::getNamespace).toList()));
      page.setPageToken(answer.getNextPageToken());
    } while (!page.getPageToken().isEmpty());
    expect(pages.equals(NAMESPACES), "the pages are %s", pages);
    var ended = watch(deployments.withDeadlineAfter(2, SECONDS), "java-1", WatchUntil.WATCH_UNTIL_GONE).getValue();
    expect(ended == WatchCompleteReason.WATCH_COMPLETE_REASON_DEADLINE, "the watch ended with %s, not its deadline", ended);
    for (var namespace : NAMESPACES) {
      var teardown = TeardownRequest.newBuilder().setNamespace(namespace).setName("notes").setWait(TeardownWait.TEARDOWN_WAIT_GONE);
      expect(deployments.withDeadlineAfter(60, SECONDS).teardown(teardown.build()).getComplete(), "something of notes is left in %s", namespace);
      var get = GetDeploymentRequest.newBuilder().setNamespace(namespace).setName("notes").build();
      refused(() -> deployments.withDeadlineAfter(5, SECONDS).getDeployment(get), Status.Code.NOT_FOUND, "DEPLOYMENT_NOT_FOUND");
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
    } finally {
      server.shutdown();
    }
  }
}
