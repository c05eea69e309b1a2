package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Plane is one running control plane.
type Plane struct {
	Settings
	state              string
	etcd, peer, secure int
	running            []*exec.Cmd
	exits              chan Exit
	alive              sync.WaitGroup
}

// Exit says that a program has ended.
type Exit struct {
	name  string
	state string
}

// arguments is the command line of each program.
func (plane *Plane) arguments(program string) []string {
	etcd := fmt.Sprintf("http://127.0.0.1:%d", plane.etcd)
	peer := fmt.Sprintf("http://127.0.0.1:%d", plane.peer)
	// The default of 20 requests a second would hold back readiness as soon as several tests run side by side.
	quick := []string{"--kube-api-qps=1000", "--kube-api-burst=1000", "--leader-elect=false", "--secure-port=0"}
	switch program {
	case "etcd":
		return []string{
			"--name=default", "--data-dir=" + plane.file("etcd"), "--unsafe-no-fsync",
			"--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
		}
	case "kube-apiserver":
		return append(plane.younger(), []string{
			"--etcd-servers=" + etcd, "--bind-address=" + plane.bound(), fmt.Sprintf("--secure-port=%d", plane.secure),
			"--tls-cert-file=" + plane.file("server.crt"), "--tls-private-key-file=" + plane.file("server.key"),
			"--authorization-mode=RBAC", "--token-auth-file=" + plane.file("tokens.csv"),
			"--service-cluster-ip-range=" + serviceRange,
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + plane.file("accounts.key"), "--service-account-signing-key-file=" + plane.file("accounts.key"),
			"--advertise-address=" + machineAddress, "--kubelet-preferred-address-types=InternalIP",
			// Nobody would take the taints away again: the controller that does is off.
			"--disable-admission-plugins=TaintNodesByCondition",
			// Blocking: a call stands in the log before its answer leaves. Large: the file must not be rotated away.
			"--audit-policy-file=" + plane.file("audit.yaml"), "--audit-log-path=" + plane.file("audit.log"),
			"--audit-log-mode=blocking", "--audit-log-maxsize=100000",
		}...)
	case "kube-controller-manager":
		return append(quick,
			"--kubeconfig="+plane.file("controllers.kubeconfig"), "--use-service-account-credentials=false",
			"--service-account-private-key-file="+plane.file("accounts.key"), "--root-ca-file="+plane.file("ca.crt"),
			// Simulated nodes send no heartbeats.
			"--controllers=*,-node-lifecycle-controller",
			"--concurrent-rc-syncs=10", "--enable-hostpath-provisioner",
		)
	case "kube-scheduler":
		return append(quick, "--kubeconfig="+plane.file("scheduler.kubeconfig"))
	case "kwok":
		return []string{
			"--kubeconfig=" + plane.file("kubelets.kubeconfig"), "--config=" + plane.stages,
			"--manage-all-nodes", "--node-lease-duration-seconds=0", "--cidr=10.128.0.0/9",
		}
	default:
		return plane.nodeArguments(program)
	}
}

// younger is what an old API server has to be told to have what later ones have by default: policies, since 1.30.
func (plane *Plane) younger() []string {
	var minor int
	version, err := exec.Command(plane.path("kube-apiserver"), "--version").Output()
	if err != nil {
		return nil
	}
	if _, err := fmt.Sscanf(string(version), "Kubernetes v1.%d.", &minor); err != nil || minor >= 30 {
		return nil
	}
	return []string{
		"--feature-gates=ValidatingAdmissionPolicy=true", "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
	}
}

// bound is where the API server listens: containers of a node, whose network nobody else sees, reach it, too.
func (plane *Plane) bound() string {
	if plane.machine != "" {
		return "0.0.0.0"
	}
	return "127.0.0.1"
}

// run starts programs; each writes to a log of its own.
func (plane *Plane) run(names ...string) error {
	for _, name := range names {
		log, err := os.Create(plane.file(name + ".log"))
		if err != nil {
			return err
		}
		command := exec.Command(plane.path(name), plane.arguments(name)...)
		command.Dir, command.Stdout, command.Stderr = plane.state, log, log
		command.SysProcAttr = endsWithParent()
		err = command.Start()
		log.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		plane.running = append(plane.running, command)
		plane.alive.Go(func() {
			_ = command.Wait()
			plane.exits <- Exit{name, command.ProcessState.String()}
		})
	}
	return nil
}

// path is where a program lies.
func (plane *Plane) path(name string) string {
	for _, folder := range plane.programs {
		if path := filepath.Join(folder, name); isFile(path) {
			return path
		}
	}
	return name
}

func isFile(path string) bool {
	found, err := os.Stat(path)
	return err == nil && found.Mode().IsRegular()
}

// end kills everything at once: an API server whose etcd went first would take minutes to give up.
func (plane *Plane) end() {
	for _, command := range plane.running {
		_ = command.Process.Kill()
	}
	plane.alive.Wait()
	if plane.keep {
		fmt.Fprintln(os.Stderr, "control plane: state and logs are in", plane.state)
		return
	}
	if err := os.RemoveAll(plane.state); err != nil {
		fmt.Fprintln(os.Stderr, "control plane:", err)
	}
}

// lastWords is the end of a program's log.
func (plane *Plane) lastWords(name string) string {
	text, err := os.ReadFile(plane.file(name + ".log"))
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}

// freePorts asks the kernel for ports that nobody uses, all at once so that they differ.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
