package node

import "testing"

func TestURLMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, url string
		want         bool
	}{
		{"", "a.example/x", true},
		{"/img/*", "a.example/img/x.png?v=1", true},
		{"/img/*", "a.example/other/img/x.png", false},
		{"/img/x", "a.example/img/x?v=1", false},
		{"/img/x?*", "a.example/img/x?v=1", true},
		{"a.example/*", "a.example/img/x", true},
		{"a.example/*", "b.example/img/x", false},
		{"*.example/a*b*c", "x.example/a1b2c", true},
		{"*.example/a*b*c", "x.example/a1c2b", false},
		{"/*aa", "x/aa", true},
		{"/a*a", "x/a", false},
		{"/", "x/", true},
	} {
		if got := urlMatches(tt.pattern, tt.url); got != tt.want {
			t.Errorf("%q and %q: %v", tt.pattern, tt.url, got)
		}
	}
}
