/** Reads what a call that was refused says: its code, its reason, and the fields at fault. */
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema } from "./generated/google/rpc/error_details_pb.js";

export function expect(holds: boolean, sentence: string): asserts holds {
  if (!holds) throw new Error(sentence);
}

/** The fields at fault in a call that must fail with this code and reason. */
export async function refused(call: Promise<unknown>, code: Code, reason: string) {
  const error = await call.then(() => undefined, (caught: unknown) => ConnectError.from(caught));
  expect(error !== undefined, `a call succeeded that must fail with ${reason}`);
  expect(error.code === code, `the call failed with ${error.message}, not ${Code[code]}`);
  const [info] = error.findDetails(ErrorInfoSchema);
  expect(info?.domain === "panamax.kubernetes.v1", `the domain is ${info?.domain}`);
  expect(info.reason === reason, `the reason is ${info.reason}, not ${reason}`);
  return error.findDetails(BadRequestSchema).flatMap((bad) => bad.fieldViolations.map((violation) => violation.field));
}
