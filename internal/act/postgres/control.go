package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// downFacts are what the files of a stopped instance say.
type downFacts struct {
	systemID string
	position uint64
	timeline uint32
	problem  string
}

// controldata returns what pg_controldata prints, by label.
func (e *Engine) controldata() (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := run(e.command(ctx, "pg_controldata", "-D", e.o.DataPath))
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, l := range strings.Split(string(out), "\n") {
		if label, value, ok := strings.Cut(l, ":"); ok {
			found[strings.TrimSpace(label)] = strings.TrimSpace(value)
		}
	}
	return found, nil
}

// recoverable returns how far the files' history goes, which is further than pg_control says: all that was flushed
// and maybe confirmed counts, replayed or not.
func (e *Engine) recoverable() (position uint64, timeline uint32) {
	d := e.readDown()
	return d.position, d.timeline
}

func (e *Engine) readDown() downFacts {
	if !exists(e.data("global", "pg_control")) {
		return downFacts{}
	}
	c, err := e.controldata()
	if err != nil {
		return downFacts{problem: fmt.Sprintf("the data cannot be read: %v", err)}
	}
	d := downFacts{systemID: c["Database system identifier"]}
	redo, err1 := parseLSN(c["Latest checkpoint's REDO location"])
	segment, err2 := strconv.ParseUint(c["Bytes per WAL segment"], 10, 64)
	timeline, err3 := strconv.ParseUint(c["Latest checkpoint's TimeLineID"], 10, 32)
	if err := errors.Join(err1, err2, err3); err != nil {
		d.problem = fmt.Sprintf("the data cannot be understood: %v", err)
		return d
	}
	d.position, d.timeline = redo, uint32(timeline)
	if least, err := parseLSN(c["Minimum recovery ending location"]); err == nil {
		d.position = max(d.position, least)
	}
	wal, err := openWAL(e.data("pg_wal"), segment)
	if err != nil {
		d.problem = fmt.Sprintf("the WAL cannot be read: %v", err)
		return d
	}
	defer wal.close()
	end, last := wal.end(redo)
	d.position, d.timeline = max(d.position, end), max(d.timeline, last)
	return d
}
