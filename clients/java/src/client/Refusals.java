package client;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.ArrayList;
import java.util.List;

/** Reads what a call that was refused says: its code, its reason, and the fields at fault. */
final class Refusals {
  private Refusals() {}

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
        if (!packed.is(BadRequest.class)) continue;
        for (var one : packed.unpack(BadRequest.class).getFieldViolationsList()) fields.add(one.getField());
      }
      expect(info.getDomain().equals("panamax.kubernetes.v1"), "the domain is %s", info.getDomain());
      expect(info.getReason().equals(reason), "the reason is %s, not %s", info.getReason(), reason);
      return fields;
    }
    throw new IllegalStateException("a call succeeded that must fail with " + reason);
  }
}
