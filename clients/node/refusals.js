/** Reads what a call that was refused says: its code, its reason, and the fields at fault. */
import { getProtoPath } from 'google-proto-files';
import protobuf from 'protobufjs';

const rpc = protobuf.loadSync(['status.proto', 'error_details.proto'].map((file) => getProtoPath('rpc', file)));

export function expect(holds, sentence) {
  if (!holds) throw new Error(sentence);
}

/** The fields at fault in a call that must fail with this code and reason. */
export async function refused(promise, code, reason) {
  const error = await promise.then(() => new Error(`it did not fail with ${reason}`), (caught) => caught);
  expect(!/%[0-9A-F]{2}/.test(error.details), `the message has escapes: ${error.details}`);
  expect(error.code === code, `the call failed with ${error.message}, not with code ${code}`);
  const status = rpc.lookupType('google.rpc.Status').decode(error.metadata.get('grpc-status-details-bin')[0]);
  const detail = (name) => {
    const packed = status.details.find(({ type_url: url }) => url.endsWith(`/google.rpc.${name}`));
    return packed && rpc.lookupType(`google.rpc.${name}`).decode(packed.value);
  };
  const info = detail('ErrorInfo');
  expect(info?.domain === 'panamax.kubernetes.v1', `the domain is ${info?.domain}`);
  expect(info.reason === reason, `the reason is ${info.reason}, not ${reason}`);
  return detail('BadRequest')?.fieldViolations.map(({ field }) => field) ?? [];
}
