package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
)

// What a stale machine is found by, and what its folder and its control groups are called.
const machinePrefix = "panamax-node-"

// enclose runs this program again as the first process of a machine within the machine: with processes, mounts and
// a network of its own. When that process ends, however it does, the kernel ends all others there, containers
// included, and takes mounts, interfaces and rules away.
func enclose(keep bool) error {
	stop := stopped()
	sweep()
	state, err := os.MkdirTemp("", machinePrefix)
	if err != nil {
		return err
	}
	lock, err := hold(state)
	if err != nil {
		return err
	}
	defer lock.Close()
	defer func() {
		removeControlGroups(filepath.Base(state))
		if keep {
			_ = os.Remove(lockOf(state))
		} else {
			_ = os.RemoveAll(state)
		}
	}()
	if err := makeControlGroups(filepath.Base(state)); err != nil {
		return err
	}
	var listeners []*os.File
	for range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		file, err := listener.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		listeners = append(listeners, file)
	}
	child := exec.Command("/proc/self/exe", append(os.Args[1:], "--machine="+state, "--first")...)
	child.ExtraFiles = listeners
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	lifeline, err := child.StdinPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	go func() {
		<-stop
		_ = lifeline.Close()
	}()
	return child.Wait()
}

// first is the first process of the machine: it furnishes it, starts the rest, and takes in orphans until that ends.
func first(state string) error {
	if err := furnish(state); err != nil {
		return err
	}
	arguments := slices.DeleteFunc(slices.Clone(os.Args), func(argument string) bool { return argument == "--first" })
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr, os.NewFile(apiListener, "api"), os.NewFile(doorListener, "door")}
	// A proxy of the host's is out of reach from here.
	environment := []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "TMPDIR=" + state, "HOME=" + state}
	process, err := os.StartProcess("/proc/self/exe", arguments, &os.ProcAttr{Files: files, Env: environment})
	if err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
		if ended == process.Pid {
			os.Exit(status.ExitStatus())
		}
	}
}

// furnish gives the machine its mounts and its one address.
func furnish(state string) error {
	kept, err := os.Open(state)
	if err != nil {
		return err
	}
	defer kept.Close()
	if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	// These are seen as they are, and what is written to them stays in here: kubelet and the controllers have paths
	// there built in.
	for _, folder := range []string{"/var/lib", "/var/log", "/tmp"} {
		upper, work := "/run/upper"+folder, "/run/work"+folder
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		if err := mount("overlay", folder, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", folder, upper, work)); err != nil {
			return err
		}
	}
	// The state is for both sides.
	if err := mount(fmt.Sprintf("/proc/self/fd/%d", kept.Fd()), state, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return err
	}
	address, err := netlink.ParseAddr(machineAddress + "/32")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(loopback, address); err != nil {
		return err
	}
	// Where processes of the node send what is for a Service; the rules that lead to its pods come after the choice of
	// a route, and containers have one to the node.
	_, services, err := net.ParseCIDR(serviceRange)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: loopback.Attrs().Index, Dst: services, Src: address.IP, Scope: netlink.SCOPE_HOST})
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := syscall.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mounting %s: %w", target, err)
	}
	return nil
}

// hold marks a machine's folder as in use for as long as the file is open.
func hold(state string) (*os.File, error) {
	lock, err := os.Create(filepath.Join(state, "new"))
	if err != nil {
		return nil, err
	}
	// Nobody sees the lock before it is held.
	err = errors.Join(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), os.Rename(lock.Name(), lockOf(state)))
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func lockOf(state string) string { return filepath.Join(state, "lock") }

// sweep removes what is left of machines whose keeper was killed: folders that have a lock which nobody holds.
func sweep() {
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), machinePrefix+"*"))
	for _, state := range folders {
		lock, err := os.Open(lockOf(state))
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			removeControlGroups(filepath.Base(state))
			_ = os.RemoveAll(state)
		}
		lock.Close()
	}
}
