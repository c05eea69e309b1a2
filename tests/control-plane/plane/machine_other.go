//go:build !linux

package main

import "errors"

var errOnlyLinux = errors.New("a node needs Linux")

func enclose(bool) error { return errOnlyLinux }

func first(string) error { return errOnlyLinux }
