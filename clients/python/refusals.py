"""Reads what a call that was refused says: its code, its reason, and the fields at fault."""
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def expect(holds, sentence):
    if not holds:
        sys.exit(f"python: {sentence}")


def refused(call, code, reason):
    """The fields at fault in a call that must fail with this code and reason."""
    try:
        call()
    except grpc.RpcError as error:
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        status = rpc_status.from_call(error)
        for packed in status.details if status else []:
            packed.Unpack(info) or packed.Unpack(bad_request)
        expect(error.code() == code, f"the call failed with {error.code()}: {error.details()}, not {code}")
        expect((info.domain, info.reason) == ("panamax.kubernetes.v1", reason), f"it failed with {info}, not {reason}")
        return [violation.field for violation in bad_request.field_violations]
    sys.exit(f"python: a call succeeded that must fail with {reason}")
