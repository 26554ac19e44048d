package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Sizes of a node's file systems in the layout with small disks: the store sets 128 MiB aside, PostgreSQL's WAL may have 256.
const (
	nodeDisk = 700 << 20
	dataDisk = 600 << 20
)

// mount makes a file system of its own for a folder, in an image file.
func mount(path, image string, size int64) error {
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.MkdirAll(path, 0o755)); err != nil {
		return err
	}
	for _, argv := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, path}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", argv, err, out)
		}
	}
	return os.Chmod(path, 0o755)
}

func unmount(path string) { _ = syscall.Unmount(path, syscall.MNT_DETACH) }

const filler = "filler"

// fill takes all the space of the file system that is mounted at a path.
func fill(path string) error {
	f, err := os.Create(filepath.Join(path, filler))
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10} { // the last blocks as well
		block := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

func empty(path string) error {
	if err := os.Remove(filepath.Join(path, filler)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
