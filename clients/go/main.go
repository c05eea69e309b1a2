// Command client goes through the contract as a program would: from a bad template to a deployment that is gone.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "example.com/panamax-client/kubernetesv1"
)

func expect(holds bool, format string, values ...any) {
	if !holds {
		log.Fatalf("go: "+format, values...)
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

// watched reads a stream to its end; it answers the last state, and why the stream ended.
func watched(stream grpc.ServerStreamingClient[pb.WatchDeploymentResponse], err error) (state pb.DeploymentState, reason pb.WatchCompleteReason) {
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

func main() {
	bad, notes, token := string(must(os.ReadFile("bad.pmx"))), string(must(os.ReadFile("notes.pmx"))), os.Getenv("PANAMAX_TOKEN")
	root := must(credentials.NewClientTLSFromFile(os.Getenv("PANAMAX_CA_FILE"), ""))
	server := must(grpc.NewClient(os.Getenv("PANAMAX_SERVER"), grpc.WithTransportCredentials(root)))
	health := must(grpc_health_v1.NewHealthClient(server).Check(bounded(5*time.Second, ""), &grpc_health_v1.HealthCheckRequest{}))
	expect(health.Status == grpc_health_v1.HealthCheckResponse_SERVING, "the server is %v", health.Status)
	ctx, zip := bounded(2*time.Minute, token), grpc.UseCompressor(gzip.Name)
	client := pb.NewDeploymentServiceClient(server)

	verdict := must(pb.NewTemplateServiceClient(server).ValidateTemplate(ctx, &pb.ValidateTemplateRequest{TemplateSource: &pb.ValidateTemplateRequest_TemplateYaml{TemplateYaml: bad}}, zip))
	for _, found := range verdict.Diagnostics {
		fmt.Printf("bad.pmx:%d:%d: %v %s: %s (%s)\n", found.Line, found.Column, found.Severity, found.Code, found.Message, found.Hint)
	}
	missing := slices.IndexFunc(verdict.Diagnostics, func(found *pb.Diagnostic) bool { return found.Code == "LINK_TARGET_MISSING" && found.Line == 6 })
	expect(!verdict.Valid && missing >= 0, "the missing link is not told at line 6")
	wrong := &pb.DeployRequest{Namespace: "go-1", TemplateSource: &pb.DeployRequest_TemplateYaml{TemplateYaml: bad}}
	_, err := client.Deploy(ctx, wrong, zip)
	fields := refused(err, codes.InvalidArgument, "TEMPLATE_INVALID")
	expect(slices.Contains(fields, "images[0].links[0].service"), "the fields at fault are %v", fields)
	if token != "" {
		_, err = client.Deploy(bounded(5*time.Second, "a-token-that-nobody-has"), wrong, zip)
		refused(err, codes.Unauthenticated, "CREDENTIALS_INVALID")
	}

	options := &pb.DeployOptions{Profile: pb.Profile_PROFILE_MODERN, CreateNamespace: true, Labels: map[string]string{"client": "go"}}
	for _, namespace := range []string{"go-1", "go-2"} {
		deploy := &pb.DeployRequest{Namespace: namespace, TemplateSource: &pb.DeployRequest_TemplateYaml{TemplateYaml: notes}, Options: options}
		deployed := must(client.Deploy(ctx, deploy, zip))
		expect(deployed.Outcome == pb.DeployOutcome_DEPLOY_OUTCOME_CREATED, "%s has notes already", namespace)
		until := &pb.WatchDeploymentRequest{Namespace: namespace, Name: "notes", Until: pb.WatchUntil_WATCH_UNTIL_SETTLED}
		state, reason := watched(client.WatchDeployment(ctx, until, zip))
		expect(reason == pb.WatchCompleteReason_WATCH_COMPLETE_REASON_SETTLED, "the watch ended with %v", reason)
		expect(state == pb.DeploymentState_DEPLOYMENT_STATE_ACTIVE, "what was deployed is %v", state)
	}
	scaled := must(client.Scale(ctx, &pb.ScaleRequest{Namespace: "go-1", Name: "notes", Replicas: map[string]int32{"Web": 3}, Wait: pb.WaitMode_WAIT_MODE_READY}, zip))
	web := scaled.Deployment.Components[0]
	expect(web.ImageName == "Web" && web.GetReadyReplicas() == 3, "after scaling, %d of %s are ready", web.GetReadyReplicas(), web.ImageName)
	var pages []string
	page := &pb.ListDeploymentsRequest{Namespace: "-", PageSize: 1, LabelSelector: "client=go"}
	for len(pages) == 0 || page.PageToken != "" {
		answer := must(client.ListDeployments(ctx, page, zip))
		expect(len(answer.Deployments) == 1, "a page has %d deployments", len(answer.Deployments))
		pages = append(pages, answer.Deployments[0].Namespace)
		page.PageToken = answer.NextPageToken
	}
	expect(strings.Join(pages, " ") == "go-1 go-2", "the pages are %v", pages)
	gone := &pb.WatchDeploymentRequest{Namespace: "go-1", Name: "notes", Until: pb.WatchUntil_WATCH_UNTIL_GONE}
	_, reason := watched(client.WatchDeployment(bounded(2*time.Second, token), gone, zip))
	expect(reason == pb.WatchCompleteReason_WATCH_COMPLETE_REASON_DEADLINE, "the watch ended with %v, not its deadline", reason)
	for _, namespace := range pages {
		down := must(client.Teardown(ctx, &pb.TeardownRequest{Namespace: namespace, Name: "notes", Wait: pb.TeardownWait_TEARDOWN_WAIT_GONE}, zip))
		expect(down.Complete, "something of notes is left in %s", namespace)
		_, err := client.GetDeployment(ctx, &pb.GetDeploymentRequest{Namespace: namespace, Name: "notes"}, zip)
		refused(err, codes.NotFound, "DEPLOYMENT_NOT_FOUND")
	}
}
