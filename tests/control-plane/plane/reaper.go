package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// pod is the little of a pod that its end needs.
type pod struct {
	Metadata struct {
		Name, Namespace, UID, DeletionTimestamp, ResourceVersion string
	}
}

// reap plays the end of a kubelet's work for ever: it removes pods that are marked for deletion.
//
// It stands in for a stage of kwok's, which deletes by name alone: on a busy machine that came late and took a new
// pod of the same name. This goes by uid, as a kubelet does.
func (api *API) reap() {
	for {
		api.reapOnce()
		time.Sleep(50 * time.Millisecond)
	}
}

// reapOnce lists all pods and follows them until the watch ends.
func (api *API) reapOnce() {
	answer, err := api.call(http.MethodGet, "/api/v1/pods", nil)
	if err != nil {
		return
	}
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []pod
	}
	if json.Unmarshal(answer, &list) != nil {
		return
	}
	for _, one := range list.Items {
		api.remove(one)
	}
	request, err := http.NewRequest(http.MethodGet, api.server+"/api/v1/pods?watch=true&timeoutSeconds=300&resourceVersion="+list.Metadata.ResourceVersion, nil)
	if err != nil {
		return
	}
	request.Header.Set("Authorization", "Bearer "+api.token)
	follower := http.Client{Transport: api.client.Transport}
	response, err := follower.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	events := json.NewDecoder(response.Body)
	for {
		var event struct {
			Type   string
			Object pod
		}
		if events.Decode(&event) != nil || event.Type == "ERROR" {
			return
		}
		if event.Type == "ADDED" || event.Type == "MODIFIED" {
			go api.remove(event.Object)
		}
	}
}

// remove ends a pod that is marked; one that is gone, or whose name another has, is none of its business.
func (api *API) remove(one pod) {
	if one.Metadata.DeletionTimestamp == "" {
		return
	}
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s", one.Metadata.Namespace, one.Metadata.Name)
	now := object{"gracePeriodSeconds": 0, "preconditions": object{"uid": one.Metadata.UID}}
	_, _ = api.call(http.MethodDelete, path, now)
}
