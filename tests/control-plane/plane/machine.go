package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

const (
	// The one address of a machine that is connected to nothing; pods reach it through their gateway.
	machineAddress = "10.200.0.1"
	nameServer     = "10.96.0.10"
	serviceRange   = "10.96.0.0/16"
	apiService     = "10.96.0.1"
	runtimeSocket  = "/run/containerd/containerd.sock"

	// Where in this process's table the listeners stand that belong to the host's network.
	apiListener, doorListener = 3, 4
)

// The programs of a node beside those of its control plane.
var nodePrograms = []string{"coredns", "kube-proxy", "kubelet"}

const runtimeConfiguration = `version = 3
root = "/run/node/containerd"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "node.test/pause:1"
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = %q
[plugins.'io.containerd.cri.v1.runtime']
  # Not everybody who is root may lower the score.
  restrict_oom_score_adj = true
  # A profile would stay loaded in the host's kernel.
  disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = [%q]
  conf_dir = %q
  use_internal_loopback = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = %q
  SystemdCgroup = false
`

// writeNodeFiles writes what the node's programs are configured by; images come from the registry at an address.
func (plane *Plane) writeNodeFiles(registry string) error {
	// Every pod has a cable of its own to the node, so that all its traffic passes the node's rules; on a bridge,
	// answers between neighbours pass them only where the kernel has br_netfilter.
	network := object{
		"cniVersion": "1.0.0", "name": "pods",
		"plugins": []object{
			{
				"type": "ptp",
				"ipam": object{
					"type": "host-local", "dataDir": "/run/node/addresses",
					"ranges": [][]object{{{"subnet": "10.244.0.0/16"}}}, "routes": []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "backend": "nftables", "capabilities": object{"portMappings": true}},
		},
	}
	kubelet := object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": machineAddress, "containerRuntimeEndpoint": "unix://" + runtimeSocket,
		"authentication": object{"anonymous": object{"enabled": true}, "webhook": object{"enabled": false}},
		"authorization":  object{"mode": "AlwaysAllow"},
		"clusterDNS":     []string{nameServer}, "clusterDomain": "cluster.local", "resolvConf": "",
		"failCgroupV1": false, "failSwapOn": false, "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + filepath.Base(plane.machine),
		"enforceNodeAllocatable": []string{},
		// The host's disk and memory are nobody's business here.
		"evictionHard":                object{"imagefs.available": "0%", "nodefs.available": "0%", "memory.available": "1Mi"},
		"imageGCHighThresholdPercent": 100,
		"registryPullQPS":             0, "eventRecordQPS": 0, "kubeAPIQPS": 1000, "kubeAPIBurst": 1000, "serializeImagePulls": false,
		"syncFrequency": "10s", "maxPods": 250,
	}
	plugins := filepath.Dir(plane.path("ptp"))
	hosts := fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "http://"+registry)
	zone := fmt.Sprintf(".:53 {\n  bind %s\n  errors\n  kubernetes cluster.local {\n    kubeconfig %s\n  }\n}\n", machineAddress, plane.file("kubelets.kubeconfig"))
	for name, content := range map[string]string{
		"containerd.toml":           fmt.Sprintf(runtimeConfiguration, plane.file("hosts"), plugins, plane.file("cni"), plane.path("runc")),
		"hosts/_default/hosts.toml": hosts,
		"cni/10-pods.conflist":      string(encoded(network)),
		"kubelet.json":              string(encoded(kubelet)),
		"Corefile":                  zone,
	} {
		if err := os.MkdirAll(filepath.Dir(plane.file(name)), 0o755); err != nil {
			return err
		}
		if err := plane.write(name, []byte(content)); err != nil {
			return err
		}
	}
	return nil
}

// nodeArguments is the command line of each program of a node.
func (plane *Plane) nodeArguments(program string) []string {
	switch program {
	case "containerd":
		return []string{"--config=" + plane.file("containerd.toml")}
	case "coredns":
		return []string{"-conf", plane.file("Corefile")}
	case "kube-proxy":
		return []string{
			"--kubeconfig=" + plane.file("kubelets.kubeconfig"), "--hostname-override=node", "--proxy-mode=nftables",
			"--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0",
		}
	default:
		return []string{
			"--config=" + plane.file("kubelet.json"), "--kubeconfig=" + plane.file("kubelets.kubeconfig"),
			"--hostname-override=node", "--node-ip=" + machineAddress, "--root-dir=/run/node/kubelet", "--cert-dir=/run/node/kubelet/pki",
		}
	}
}

// startRuntime starts what needs no API server: the registry and containerd.
func (plane *Plane) startRuntime() error {
	registry, err := newRegistry(plane.path("probe"), runtime.GOARCH, plane.images)
	if err != nil {
		return err
	}
	address, err := registry.serve()
	if err != nil {
		return err
	}
	if err := plane.writeNodeFiles(address); err != nil {
		return err
	}
	return plane.run("containerd")
}

// startNode starts the rest, and returns when pods would find all they need.
func (plane *Plane) startNode(api *API, stop <-chan struct{}) error {
	ports := []object{{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}}
	service := object{
		"apiVersion": "v1", "kind": "Service", "metadata": object{"name": "kube-dns"},
		"spec": object{"clusterIP": nameServer, "ports": ports},
	}
	slice := object{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": ports,
		"metadata":  object{"name": "kube-dns", "labels": object{"kubernetes.io/service-name": "kube-dns"}},
		"endpoints": []object{{"addresses": []string{machineAddress}, "conditions": object{"ready": true}}},
	}
	if err := plane.until(stop, "containerd", func() bool { _, err := os.Stat(runtimeSocket); return err == nil }); err != nil {
		return err
	}
	if err := plane.run(nodePrograms...); err != nil {
		return err
	}
	if err := plane.until(stop, "the namespace kube-system", func() bool { return api.exists("/api/v1/namespaces/kube-system") }); err != nil {
		return err
	}
	if _, err := api.call(http.MethodPost, "/api/v1/namespaces/kube-system/services", service); err != nil {
		return err
	}
	if _, err := api.call(http.MethodPost, "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", slice); err != nil {
		return err
	}
	if err := plane.until(stop, "CoreDNS", func() bool { return answers(machineAddress + ":53") }); err != nil {
		return err
	}
	return plane.until(stop, "kube-proxy", func() bool { return answers("127.0.0.1:10256") })
}

func answers(address string) bool {
	connection, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	return connection.Close() == nil
}
