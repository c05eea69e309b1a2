// Command client goes through the contract as a program would: from a bad template to a deployment that is gone.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"

	pb "panamax.io/kubernetes/v1"
)

var zip = grpc.UseCompressor(gzip.Name)

func main() {
	log.SetFlags(0)
	log.SetPrefix("go: ")
	root := must(credentials.NewClientTLSFromFile(os.Getenv("PANAMAX_CA_FILE"), ""))
	server := must(grpc.NewClient(os.Getenv("PANAMAX_SERVER"), grpc.WithTransportCredentials(root)))
	probe := grpc_health_v1.NewHealthClient(server)
	health := must(probe.Check(bounded(5*time.Second, ""), &grpc_health_v1.HealthCheckRequest{}))
	expect(health.Status == grpc_health_v1.HealthCheckResponse_SERVING, "the server is %v", health.Status)
	token, client := os.Getenv("PANAMAX_TOKEN"), pb.NewDeploymentServiceClient(server)
	findFaults(pb.NewTemplateServiceClient(server), client, token)
	for _, namespace := range []string{"go-1", "go-2"} {
		deploy(bounded(2*time.Minute, token), client, namespace)
	}
	scale := &pb.ScaleRequest{
		Namespace: "go-1", Name: "notes", Replicas: map[string]int32{"Web": 3}, Wait: pb.WaitMode_WAIT_MODE_READY,
	}
	scaled := must(client.Scale(bounded(time.Minute, token), scale, zip))
	web := scaled.Deployment.Components[0]
	expect(web.GetReadyReplicas() == 3, "after scaling, %d of %s are ready", web.GetReadyReplicas(), web.ImageName)
	var pages []string
	page := &pb.ListDeploymentsRequest{Namespace: "-", PageSize: 1, LabelSelector: "client=go"}
	for len(pages) == 0 || page.PageToken != "" {
		answer := must(client.ListDeployments(bounded(5*time.Second, token), page, zip))
		expect(len(answer.Deployments) == 1, "a page has %d deployments", len(answer.Deployments))
		pages = append(pages, answer.Deployments[0].Namespace)
		page.PageToken = answer.NextPageToken
	}
	expect(slices.Equal(pages, []string{"go-1", "go-2"}), "the pages are %v", pages)
	gone := &pb.WatchDeploymentRequest{Namespace: "go-1", Name: "notes", Until: pb.WatchUntil_WATCH_UNTIL_GONE}
	_, reason := watched(client.WatchDeployment(bounded(2*time.Second, token), gone, zip))
	expect(reason == pb.WatchCompleteReason_WATCH_COMPLETE_REASON_DEADLINE, "the watch ended with %v", reason)
	for _, namespace := range pages {
		request := &pb.TeardownRequest{Namespace: namespace, Name: "notes", Wait: pb.TeardownWait_TEARDOWN_WAIT_GONE}
		down := must(client.Teardown(bounded(time.Minute, token), request, zip))
		expect(down.Complete, "something of notes is left in %s", namespace)
		get := &pb.GetDeploymentRequest{Namespace: namespace, Name: "notes"}
		_, err := client.GetDeployment(bounded(5*time.Second, token), get, zip)
		refused(err, codes.NotFound, "DEPLOYMENT_NOT_FOUND")
	}
}

// findFaults validates a bad template, and is refused to deploy it, and anything to a stranger.
func findFaults(templates pb.TemplateServiceClient, client pb.DeploymentServiceClient, token string) {
	bad := string(must(os.ReadFile("bad.pmx")))
	validate := &pb.ValidateTemplateRequest{TemplateSource: &pb.ValidateTemplateRequest_TemplateYaml{TemplateYaml: bad}}
	verdict := must(templates.ValidateTemplate(bounded(5*time.Second, token), validate, zip))
	lines := map[string]int32{}
	for _, one := range verdict.Diagnostics {
		fmt.Printf("bad.pmx:%d:%d: %v %s: %s (%s)\n", one.Line, one.Column, one.Severity, one.Code, one.Message, one.Hint)
		lines[one.Code] = one.Line
	}
	expect(!verdict.Valid && lines["LINK_TARGET_MISSING"] == 6, "a link is missing at line 6, but %v is told", lines)
	deploy := &pb.DeployRequest{Namespace: "go-1", TemplateSource: &pb.DeployRequest_TemplateYaml{TemplateYaml: bad}}
	_, err := client.Deploy(bounded(5*time.Second, token), deploy, zip)
	fields := refused(err, codes.InvalidArgument, "TEMPLATE_INVALID")
	expect(slices.Contains(fields, "images[0].links[0].service"), "the fields at fault are %v", fields)
	if token != "" {
		_, err = client.Deploy(bounded(5*time.Second, "a-token-that-nobody-has"), deploy, zip)
		refused(err, codes.Unauthenticated, "CREDENTIALS_INVALID")
	}
}

// deploy deploys the template, and watches it until it is ready.
func deploy(ctx context.Context, client pb.DeploymentServiceClient, namespace string) {
	request := &pb.DeployRequest{
		Namespace:      namespace,
		TemplateSource: &pb.DeployRequest_TemplateYaml{TemplateYaml: string(must(os.ReadFile("notes.pmx")))},
		Options: &pb.DeployOptions{
			Profile: pb.Profile_PROFILE_MODERN, CreateNamespace: true, Labels: map[string]string{"client": "go"},
		},
	}
	deployed := must(client.Deploy(ctx, request, zip))
	expect(deployed.Outcome == pb.DeployOutcome_DEPLOY_OUTCOME_CREATED, "%s has notes already", namespace)
	until := &pb.WatchDeploymentRequest{Namespace: namespace, Name: "notes", Until: pb.WatchUntil_WATCH_UNTIL_SETTLED}
	state, reason := watched(client.WatchDeployment(ctx, until, zip))
	expect(reason == pb.WatchCompleteReason_WATCH_COMPLETE_REASON_SETTLED, "the watch ended with %v", reason)
	expect(state == pb.DeploymentState_DEPLOYMENT_STATE_ACTIVE, "what was deployed is %v", state)
}
