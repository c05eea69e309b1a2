package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tools are the host's programs that the image with a shell has.
var tools = []string{"sh", "cp", "mv", "rm", "mkdir", "sync"}

// content is what the image with a shell has at its volume, and whose it is.
var content = []tar.Header{
	{Name: "data/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 1000, Gid: 1000},
	{Name: "data/seed", Mode: 0o640, Uid: 1000, Gid: 1000},
	{Name: "data/.hidden", Mode: 0o640, Uid: 1000, Gid: 1000},
}

// shellLayer packs a shell and what it needs of the host, and a volume with content.
func shellLayer() ([]byte, error) {
	files := map[string]string{}
	for _, tool := range tools {
		found := ""
		for _, folder := range []string{"/bin", "/usr/bin"} {
			if _, err := os.Stat(filepath.Join(folder, tool)); err == nil {
				found = filepath.Join(folder, tool)
				break
			}
		}
		if found == "" {
			return nil, fmt.Errorf("this machine has no program %s", tool)
		}
		files["bin/"+tool] = found
		if err := libraries(found, files); err != nil {
			return nil, err
		}
	}
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	for name, source := range files {
		program, err := os.ReadFile(source)
		if err != nil {
			return nil, err
		}
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(program))}); err != nil {
			return nil, err
		}
		if _, err := archive.Write(program); err != nil {
			return nil, err
		}
	}
	for _, header := range content {
		text := ""
		if header.Typeflag != tar.TypeDir {
			text = "from the image"
		}
		header.Size = int64(len(text))
		if err := archive.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := archive.Write([]byte(text)); err != nil {
			return nil, err
		}
	}
	return layer.Bytes(), archive.Close()
}

// libraries adds what a program is linked with, and what loads it, each at its own path.
func libraries(program string, files map[string]string) error {
	binary, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer binary.Close()
	if section := binary.Section(".interp"); section != nil {
		loader, err := section.Data()
		if err != nil {
			return err
		}
		path := strings.TrimRight(string(loader), "\x00")
		files[strings.TrimPrefix(path, "/")] = path
	}
	names, err := binary.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range names {
		found := ""
		for _, pattern := range []string{"/lib64", "/usr/lib64", "/lib/*-linux-gnu*", "/usr/lib/*-linux-gnu*", "/lib", "/usr/lib"} {
			if matches, _ := filepath.Glob(filepath.Join(pattern, name)); len(matches) > 0 {
				found = matches[0]
				break
			}
		}
		if found == "" {
			return fmt.Errorf("%s needs %s, which is not there", program, name)
		}
		packed := strings.TrimPrefix(found, "/")
		if _, known := files[packed]; known {
			continue
		}
		files[packed] = found
		if err := libraries(found, files); err != nil {
			return err
		}
	}
	return nil
}
