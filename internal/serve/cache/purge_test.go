package cache

import (
	"strings"
	"testing"
	"time"
)

// TestPurgeMatching: what matches is forgotten, in memory and on disk, with all its variants; the rest stays, and so does nothing that was on
// its way in.
func TestPurgeMatching(t *testing.T) {
	c := serving(Options{})
	for _, line := range []string{"GET /img/a", "GET /img/b?x=1", "GET /page"} {
		keep(t, c, ask(t, line), answer(t, 200, "Cache-Control: max-age=60"), "body")
	}
	late := ask(t, "GET /img/late")
	w, why := c.Begin(late, answer(t, 200, "Cache-Control: max-age=60"), time.Now(), time.Now())
	if w == nil {
		t.Fatal(why)
	}
	var urls []string
	n, err := c.PurgeMatching(func(url string) bool {
		urls = append(urls, url)
		return strings.Contains(url, "/img/")
	})
	if err != nil || n != 2 {
		t.Errorf("%d of %q were forgotten: %v", n, urls, err)
	}
	if left := c.Usage().Entries; left != 1 {
		t.Errorf("%d entries are left", left)
	}
	w.Commit()
	if left := c.Usage().Entries; left != 1 {
		t.Error("what was being written meanwhile was stored")
	}
}
