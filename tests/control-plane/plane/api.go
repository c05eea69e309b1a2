package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// API is the little of the Kubernetes API that is needed to furnish an empty cluster.
type API struct {
	client        http.Client
	server, token string
}

func newAPI(server, authority, token string) (*API, error) {
	root, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	return &API{http.Client{Transport: transport, Timeout: 10 * time.Second}, server, token}, nil
}

func (api *API) ready() bool { return api.exists("/readyz") }

func (api *API) exists(path string) bool {
	_, err := api.call(http.MethodGet, path, nil)
	return err == nil
}

// populate creates the default StorageClass, with which claims bind, and the simulated nodes.
// There are many nodes because templates ask for host ports and tests run side by side.
func (api *API) populate(nodes int) error {
	class := object{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "kubernetes.io/host-path",
		"metadata": object{"name": "standard", "annotations": object{"storageclass.kubernetes.io/is-default-class": "true"}},
	}
	if _, err := api.call(http.MethodPost, "/apis/storage.k8s.io/v1/storageclasses", class); err != nil {
		return err
	}
	failures := make(chan error, nodes)
	for number := range nodes {
		go func() {
			name := fmt.Sprintf("node-%d", number+1)
			node := object{
				"apiVersion": "v1", "kind": "Node",
				"metadata": object{"name": name, "labels": object{"kubernetes.io/hostname": name}},
			}
			_, err := api.call(http.MethodPost, "/api/v1/nodes", node)
			failures <- err
		}()
	}
	var all error
	for range nodes {
		all = errors.Join(all, <-failures)
	}
	return all
}

// settled says whether all nodes are ready and service accounts are being made.
func (api *API) settled(nodes int) bool {
	if !api.exists("/api/v1/namespaces/default/serviceaccounts/default") {
		return false
	}
	answer, err := api.call(http.MethodGet, "/api/v1/nodes", nil)
	if err != nil {
		return false
	}
	var list struct {
		Items []struct {
			Status struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if json.Unmarshal(answer, &list) != nil {
		return false
	}
	ready := 0
	for _, node := range list.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == "Ready" && condition.Status == "True" {
				ready++
			}
		}
	}
	return ready >= nodes
}

type object = map[string]any

func (api *API) call(method, path string, body object) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(method, api.server+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+api.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := api.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s", method, path, answer)
	}
	return answer, nil
}
