// Plane runs one throw-away Kubernetes control plane on loopback for as long as its standard input stays open.
//
// It starts etcd, the API server, the controller manager, the scheduler and kwok, prints one line of JSON on
// standard output when pods can run, and ends all of them with SIGKILL when standard input closes: whoever
// started it can die in any way, the pipe closes, and nothing stays behind. With --node it brings, instead of
// kwok's simulated nodes, one real node, in namespaces of its own.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// A port is free only until somebody else takes it, so a start that fails is tried again with other ports.
const attempts = 3

// How long one attempt may take; a start needs about four seconds on an idle machine.
const patience = 90 * time.Second

// Ready is what the tests are told.
type Ready struct {
	Server string            `json:"server"`
	State  string            `json:"state"`
	Audit  string            `json:"audit"`
	Door   string            `json:"door,omitempty"`
	Tokens map[string]string `json:"tokens"`
}

func main() {
	// Linux ends a child when the *thread* that started it ends; the main thread lives as long as the process.
	runtime.LockOSThread()
	var settings Settings
	programs := flag.String("programs", "", "folders of the programs, separated as in PATH")
	flag.StringVar(&settings.stages, "stages", "", "kwok's stages")
	flag.IntVar(&settings.nodes, "nodes", 100, "number of simulated nodes")
	flag.BoolVar(&settings.keep, "keep", false, "leave the state and the logs behind")
	flag.StringVar(&settings.images, "images", "", "a folder of OCI layouts, each called like the last part of its image's name")
	node := flag.Bool("node", false, "one real node instead of simulated ones")
	// What this program tells itself.
	flag.StringVar(&settings.machine, "machine", "", "")
	isFirst := flag.Bool("first", false, "")
	flag.Parse()
	settings.programs = filepath.SplitList(*programs)
	var err error
	switch {
	case *node && settings.machine == "":
		err = enclose(settings.keep)
	case *isFirst:
		err = first(settings.machine)
	default:
		err = run(settings)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "control plane:", err)
		os.Exit(1)
	}
}

// Settings is what a control plane is made of.
type Settings struct {
	programs []string
	stages   string
	nodes    int
	keep     bool
	images   string
	// The folder of the machine that this runs in, for a real node; else empty.
	machine string
}

func run(settings Settings) error {
	stop := stopped()
	began := time.Now()
	var failure error
	for range attempts {
		state, err := os.MkdirTemp("", "panamax-control-plane-")
		if err != nil {
			return err
		}
		plane := &Plane{Settings: settings, state: state, exits: make(chan Exit, 16)}
		ready, err := plane.start(stop)
		if err == nil {
			fmt.Fprintf(os.Stderr, "%s: ready in %.1f s\n", plane.kind(), time.Since(began).Seconds())
			if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
				plane.end()
				return err
			}
			plane.watch(stop)
		}
		plane.end()
		if err == nil || errors.Is(err, errStopped) {
			return nil
		}
		failure = err
		fmt.Fprintln(os.Stderr, "control plane: did not start:", err)
	}
	return failure
}

var errStopped = errors.New("stopped")

// stopped is closed when standard input closes or a signal asks for the end.
func stopped() <-chan struct{} {
	done := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(closed)
	}()
	go func() {
		select {
		case <-signals:
		case <-closed:
		}
		close(done)
	}()
	return done
}

// start brings everything up, in the order in which the programs need each other.
func (plane *Plane) start(stop <-chan struct{}) (*Ready, error) {
	relayed, err := plane.choosePorts()
	if err != nil {
		return nil, err
	}
	tokens, err := plane.writeFiles()
	if err != nil {
		return nil, err
	}
	api, err := newAPI(plane.server(), plane.file("ca.crt"), tokens["harness"])
	if err != nil {
		return nil, err
	}
	if err := plane.run("etcd", "kube-apiserver"); err != nil {
		return nil, err
	}
	if plane.machine != "" {
		if err := plane.startRuntime(); err != nil {
			return nil, err
		}
	}
	if err := plane.until(stop, "the API server's readiness", api.ready); err != nil {
		return nil, err
	}
	if err := plane.run("kube-controller-manager", "kube-scheduler"); err != nil {
		return nil, err
	}
	nodes, err := plane.startNodes(api, stop)
	if err != nil {
		return nil, err
	}
	if err := plane.until(stop, "the nodes' readiness", func() bool { return api.settled(nodes) }); err != nil {
		return nil, err
	}
	ready := &Ready{Server: plane.server(), State: plane.state, Audit: plane.file("audit.log"), Tokens: tokens}
	if relayed != nil {
		ready.Door = relayed.open(fmt.Sprintf("127.0.0.1:%d", plane.secure))
	}
	return ready, nil
}

// choosePorts takes free ports; in a machine of its own the API server has the port that the host reaches it by.
func (plane *Plane) choosePorts() (*listeners, error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	plane.etcd, plane.peer, plane.secure = ports[0], ports[1], ports[2]
	if plane.machine == "" {
		return nil, nil
	}
	relayed, err := hostListeners()
	if err != nil {
		return nil, err
	}
	plane.secure = relayed.port
	return relayed, nil
}

// startNodes furnishes the cluster with nodes, real or simulated, and returns how many there will be.
func (plane *Plane) startNodes(api *API, stop <-chan struct{}) (int, error) {
	if plane.machine != "" {
		return 1, errors.Join(api.populate(0), plane.startNode(api, stop))
	}
	if err := plane.run("kwok"); err != nil {
		return 0, err
	}
	go api.reap()
	return plane.nodes, api.populate(plane.nodes)
}

// until asks every 50 ms whether something holds, and gives up when a program has ended or time is over.
func (plane *Plane) until(stop <-chan struct{}, what string, holds func() bool) error {
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-stop:
			return errStopped
		case exit := <-plane.exits:
			return fmt.Errorf("%s ended (%s); its last words:\n%s", exit.name, exit.state, plane.lastWords(exit.name))
		case <-deadline:
			return fmt.Errorf("waited %s in vain for %s; the API server's last words:\n%s", patience, what, plane.lastWords("kube-apiserver"))
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// watch returns when the end is asked for, and says so when a program ends before that.
func (plane *Plane) watch(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case exit := <-plane.exits:
			fmt.Fprintf(os.Stderr, "control plane: %s ended (%s); its last words:\n%s\n", exit.name, exit.state, plane.lastWords(exit.name))
		}
	}
}

func (plane *Plane) kind() string {
	if plane.machine != "" {
		return "node"
	}
	return "control plane"
}

func (plane *Plane) file(name string) string { return filepath.Join(plane.state, name) }

func (plane *Plane) server() string { return fmt.Sprintf("https://127.0.0.1:%d", plane.secure) }
