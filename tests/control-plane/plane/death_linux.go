package main

import "syscall"

// endsWithParent makes the kernel end a program as soon as this one has died, however it died.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
