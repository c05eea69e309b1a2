package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "panamax.io/kubernetes/v1"
)

func expect(holds bool, format string, values ...any) {
	if !holds {
		log.Fatalf(format, values...)
	}
}

func must[T any](value T, err error) T {
	expect(err == nil, "%v", err)
	return value
}

// bounded gives a call a deadline, and a token if there is one.
func bounded(limit time.Duration, token string) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	context.AfterFunc(ctx, cancel)
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return ctx
}

// refused answers the fields at fault in a call that must have failed with this code and reason.
func refused(err error, code codes.Code, reason string) (fields []string) {
	expect(status.Code(err) == code, "the call ended with %v, not with %v", err, code)
	var info *errdetails.ErrorInfo
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			info = detail
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				fields = append(fields, violation.Field)
			}
		}
	}
	expect(info.GetDomain() == "panamax.kubernetes.v1", "the domain is %q", info.GetDomain())
	expect(info.GetReason() == reason, "the reason is %q, not %q", info.GetReason(), reason)
	return fields
}

// watch is what WatchDeployment opens.
type watch = grpc.ServerStreamingClient[pb.WatchDeploymentResponse]

// watched reads a stream to its end; it answers the last state, and why the stream ended.
func watched(stream watch, err error) (state pb.DeploymentState, reason pb.WatchCompleteReason) {
	for expect(err == nil, "%v", err); reason == 0; {
		switch event := must(stream.Recv()).Event.(type) {
		case *pb.WatchDeploymentResponse_Snapshot:
			state = event.Snapshot.State
			fmt.Println(event.Snapshot.Namespace, state, event.Snapshot.Message)
		case *pb.WatchDeploymentResponse_Complete:
			reason = event.Complete.Reason
		}
	}
	return state, reason
}
