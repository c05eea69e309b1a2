package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// configured are the images whose configuration differs from the probe's, by the last part of their names.
var configured = map[string]object{
	"user-1000": {"User": "1000"},
	"filled":    {"User": "1000", "Volumes": object{"/data": object{}}},
	"tools":     {"Entrypoint": nil, "Cmd": []string{"/bin/sh"}},
}

// shelled are the images that have a shell and content at their volume, by the last part of their names.
var shelled = map[string]bool{"filled": true, "tools": true}

// Registry answers for every image there could be with one and the same: the probe. Where a folder of OCI layouts has
// an image of that name, it answers with that.
type Registry struct {
	layouts      string
	blobs        map[string][]byte
	probe, pause string
	configured   map[string]string
}

// newRegistry packs the probe as a container image, and once more as the one that holds a pod's network.
func newRegistry(probe, architecture, layouts string) (*Registry, error) {
	program, err := os.ReadFile(probe)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	if err := archive.WriteHeader(&tar.Header{Name: "probe", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return nil, err
	}
	if _, err := archive.Write(program); err != nil {
		return nil, err
	}
	if err := archive.WriteHeader(&tar.Header{Name: "pause", Typeflag: tar.TypeLink, Linkname: "probe", Mode: 0o755}); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	registry := &Registry{layouts: layouts, blobs: map[string][]byte{}, configured: map[string]string{}}
	tools, err := shellLayer()
	if err != nil {
		return nil, err
	}
	content, withShell := registry.add(layerType, layer.Bytes()), registry.add(layerType, tools)
	image := func(process object, layers ...object) string {
		digests, all := []any{}, []any{}
		for _, layer := range append([]object{content}, layers...) {
			digests, all = append(digests, layer["digest"]), append(all, layer)
		}
		config := registry.add(configType, encoded(object{
			"architecture": architecture, "os": "linux", "config": process,
			"rootfs": object{"type": "layers", "diff_ids": digests},
		}))
		manifest := object{"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": all}
		return registry.add(manifestType, encoded(manifest))["digest"].(string)
	}
	registry.probe = image(object{"Entrypoint": []string{"/probe"}, "Cmd": []string{"as", "packed"}})
	registry.pause = image(object{"Entrypoint": []string{"/pause"}})
	for name, process := range configured {
		own := object{"Entrypoint": []string{"/probe"}, "Cmd": []string{"as", "packed"}}
		for key, value := range process {
			own[key] = value
		}
		if shelled[name] {
			registry.configured[name] = image(own, withShell)
		} else {
			registry.configured[name] = image(own)
		}
	}
	return registry, nil
}

// add keeps a blob and returns its descriptor.
func (registry *Registry) add(kind string, blob []byte) object {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(blob))
	registry.blobs[digest] = blob
	return object{"mediaType": kind, "digest": digest, "size": len(blob)}
}

// ServeHTTP is as much of the distribution protocol as a pull needs.
func (registry *Registry) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	rest, reference := path.Split(request.URL.Path)
	name, kind := path.Split(strings.TrimSuffix(rest, "/"))
	digest := reference
	if kind == "manifests" {
		answer.Header().Set("Content-Type", manifestType)
		if !strings.HasPrefix(reference, "sha256:") {
			digest = registry.probe
			if path.Base(name) == "pause" {
				digest = registry.pause
			} else if own, found := registry.configured[path.Base(name)]; found {
				digest = own
			}
		}
	}
	blob, found := registry.blobs[digest]
	if own := registry.layout(path.Base(name), kind, reference); own != nil {
		digest, blob, found = fmt.Sprintf("sha256:%x", sha256.Sum256(own)), own, true
	}
	if !found {
		http.NotFound(answer, request)
		return
	}
	answer.Header().Set("Docker-Content-Digest", digest)
	answer.Header().Set("Content-Length", fmt.Sprint(len(blob)))
	if request.Method != http.MethodHead {
		_, _ = answer.Write(blob)
	}
}

// layout is a blob of the OCI layout of an image, or the manifest that its index names; none if there is no such layout.
func (registry *Registry) layout(name, kind, reference string) []byte {
	if registry.layouts == "" {
		return nil
	}
	folder := filepath.Join(registry.layouts, name)
	if kind == "manifests" && !strings.HasPrefix(reference, "sha256:") {
		var index struct{ Manifests []struct{ Digest string } }
		text, err := os.ReadFile(filepath.Join(folder, "index.json"))
		if err != nil || json.Unmarshal(text, &index) != nil || len(index.Manifests) != 1 {
			return nil
		}
		reference = index.Manifests[0].Digest
	}
	blob, err := os.ReadFile(filepath.Join(folder, "blobs", "sha256", filepath.Base(strings.TrimPrefix(reference, "sha256:"))))
	if err != nil {
		return nil
	}
	return blob
}

// serve opens the registry on loopback and returns its address.
func (registry *Registry) serve() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go http.Serve(listener, registry)
	return listener.Addr().String(), nil
}

func encoded(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}
