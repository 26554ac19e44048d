// Package rescue is where engines put aside what they are about to give up: a folder for each time, named by it. It keeps
// the folders within bounds, and removes none that is young: it may be the only copy of what somebody wrote.
package rescue

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/act"
)

// Limits bound what is kept; zero values are the defaults.
type Limits struct {
	Keep  time.Duration // nothing is removed before; 7 days
	Age   time.Duration // older is removed; 90 days
	Count int           // of more the oldest are removed; 20
	Size  int64         // in bytes, of all together; of more the oldest are removed; 20 GiB
}

func (l Limits) withDefaults() Limits {
	const day = 24 * time.Hour
	if l.Keep == 0 {
		l.Keep = 7 * day
	}
	if l.Age == 0 {
		l.Age = 90 * day
	}
	if l.Count == 0 {
		l.Count = 20
	}
	if l.Size == 0 {
		l.Size = 20 << 30
	}
	return l
}

// A Copy is what was put aside at a time.
type Copy struct {
	Path string
	At   time.Time
	Size int64
}

const layout = "20060102T150405.000Z"

// A Keeper has the folder of an instance.
type Keeper struct {
	dir  string
	tell *act.Teller

	mu     sync.Mutex
	limits Limits
	last   time.Time // of a Tend that looked
	told   bool      // that the limits cannot be kept
}

// New returns the keeper of what is put aside below an instance's own folder.
func New(data string, tell *act.Teller, l Limits) *Keeper {
	return &Keeper{dir: filepath.Join(data, "rescue"), tell: tell, limits: l.withDefaults()}
}

// Limit changes the limits.
func (k *Keeper) Limit(l Limits) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.limits, k.last = l.withDefaults(), time.Time{}
}

// Dir is the folder of all.
func (k *Keeper) Dir() string { return k.dir }

// At is the folder for what is put aside now; it is not made.
func (k *Keeper) At(now time.Time) string { return filepath.Join(k.dir, now.UTC().Format(layout)) }

// Least is for how long what is put aside is kept, whatever happens.
func (k *Keeper) Least() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.limits.Keep
}

// Copies lists what there is, the oldest first. Folders with other names are somebody else's.
func (k *Keeper) Copies() ([]Copy, error) {
	entries, err := os.ReadDir(k.dir) // sorted by name, which is by time
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Copy
	for _, e := range entries {
		at, err := time.Parse(layout, e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		c := Copy{Path: filepath.Join(k.dir, e.Name()), At: at}
		err = filepath.WalkDir(c.Path, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				c.Size += info.Size()
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// Tend removes what is beyond the limits, and says so. It looks once an hour, however often it is called.
func (k *Keeper) Tend(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.last) < time.Hour && !now.Before(k.last) {
		return nil
	}
	k.last = now
	all, err := k.Copies()
	if err != nil {
		return fmt.Errorf("look at what was put aside: %w", err)
	}
	var size int64
	for _, c := range all {
		size += c.Size
	}
	left := len(all)
	why := ""
	for _, c := range all {
		age := now.Sub(c.At)
		switch {
		case left > k.limits.Count:
			why = fmt.Sprintf("there are %d, more than %d", left, k.limits.Count)
		case size > k.limits.Size:
			why = fmt.Sprintf("they take %d MiB, more than %d", size>>20, k.limits.Size>>20)
		case age > k.limits.Age:
			why = fmt.Sprintf("it is %d days old, more than %d", int(age.Hours()/24), int(k.limits.Age.Hours()/24))
		default:
			k.told = false
			return nil
		}
		if age < k.limits.Keep {
			break // and so are all others
		}
		// The record comes first: what is gone must not be gone without a word.
		k.tell.Record(act.EventPruned, fmt.Sprintf("what was put aside at %s is removed", c.At.Format(time.RFC3339)), why,
			map[string]any{"path": c.Path, "bytes": c.Size})
		if err := os.RemoveAll(c.Path); err != nil {
			return fmt.Errorf("remove what was put aside: %w", err)
		}
		left, size, why = left-1, size-c.Size, ""
	}
	if why != "" && !k.told {
		k.told = true
		k.tell.Record(act.EventRescueFull, fmt.Sprintf("more is put aside in %s than is wanted, and all of it is too young to be removed: look at it, and remove by hand what is not needed", k.dir),
			fmt.Sprintf("%s; nothing younger than %v is removed", why, k.limits.Keep), nil)
	}
	return nil
}
