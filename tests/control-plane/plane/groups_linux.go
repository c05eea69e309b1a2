package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hierarchies is where control groups are mounted, one of version 2 or several of version 1.
func hierarchies() []string {
	table, _ := os.ReadFile("/proc/self/mounts")
	var found []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.HasPrefix(fields[2], "cgroup") {
			found = append(found, fields[1])
		}
	}
	return found
}

// makeControlGroups makes the machine's root group, below which its kubelet makes those of pods.
func makeControlGroups(name string) error {
	for _, hierarchy := range hierarchies() {
		// In version 2 the root hands on what it is told to.
		controllers, _ := os.ReadFile(filepath.Join(hierarchy, "cgroup.controllers"))
		for _, controller := range strings.Fields(string(controllers)) {
			if slices.Contains([]string{"cpu", "cpuset", "hugetlb", "memory", "pids"}, controller) {
				if err := os.WriteFile(filepath.Join(hierarchy, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
					return err
				}
			}
		}
		group := filepath.Join(hierarchy, name)
		if err := os.MkdirAll(group, 0o755); err != nil {
			return err
		}
		// In version 1 nothing may run in a group that has no processors.
		for _, set := range []string{"cpuset.cpus", "cpuset.mems"} {
			if all, err := os.ReadFile(filepath.Join(hierarchy, set)); err == nil {
				if err := os.WriteFile(filepath.Join(group, set), all, 0o644); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// removeControlGroups removes a machine's groups, the innermost first; a group can only be removed when it is empty.
func removeControlGroups(name string) {
	for _, hierarchy := range hierarchies() {
		var groups []string
		_ = filepath.WalkDir(filepath.Join(hierarchy, name), func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		for _, group := range slices.Backward(groups) {
			_ = os.Remove(group)
		}
	}
}
