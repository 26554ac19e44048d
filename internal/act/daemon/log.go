package daemon

import (
	"fmt"
	"os"
)

// Tail returns the last n bytes of a file, or what there is; nothing where it cannot be read.
func Tail(path string, n int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	text := make([]byte, min(n, info.Size()))
	if _, err := f.ReadAt(text, info.Size()-int64(len(text))); err != nil {
		return ""
	}
	return string(text)
}

// Rotate keeps a log that others append to within its bound: the end of what was there is kept beside it.
func Rotate(path string, most int64) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() <= most {
		return nil
	}
	if err := os.WriteFile(path+".1", []byte(Tail(path, 16<<20)), 0o600); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	return os.Truncate(path, 0)
}
