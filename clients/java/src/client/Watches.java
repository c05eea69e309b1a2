package client;

import io.panamax.kubernetes.v1.*;
import java.util.Map;

/** Reads the stream of a watch. */
final class Watches {
  private Watches() {}

  /** Watches until the stream ends; answers the last state, and why the stream ended. */
  static Map.Entry<DeploymentState, WatchCompleteReason> end(
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
}
