package protect

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
)

func TestRateByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := NewRate(config.Rate{Requests: "10/s", Burst: 3, Per: "client", Keys: 1000}, nil)
		if err != nil {
			t.Fatal(err)
		}
		take := func(key string, n int) (good int) {
			for range n {
				if _, ok := r.Take([]byte(key)); ok {
					good++
				}
			}
			return good
		}
		if n := take("a", 10); n != 3 {
			t.Errorf("%d of a burst of 3", n)
		}
		if n := take("b", 2); n != 2 {
			t.Errorf("another key has %d", n)
		}
		if wait, ok := r.Take([]byte("a")); ok || wait != 100*time.Millisecond {
			t.Errorf("a token of a is there in %s", wait)
		}
		time.Sleep(250 * time.Millisecond)
		if n := take("a", 10); n != 2 {
			t.Errorf("%d after a quarter of a second", n)
		}
	})
}

// TestRateOfAnotherConfiguration: what was taken stays taken, for each key, also with room for another number of keys. Where other
// things are counted, nothing is known.
func TestRateOfAnotherConfiguration(t *testing.T) {
	client := config.Rate{Requests: "10/s", Burst: 3, Per: "client", Keys: 100}
	all := config.Rate{Requests: "10/s", Burst: 3, Per: "service"}
	with := func(c config.Rate, requests string, burst, keys int) config.Rate {
		c.Requests, c.Burst, c.Keys = requests, burst, keys
		return c
	}
	for _, tt := range []struct {
		name     string
		from, to config.Rate
		want     [3]int // tokens of who has taken all, who has taken one, and another
	}{
		{"faster", client, with(client, "1000/s", 30, 100), [3]int{0, 2, 30}},
		{"slower", client, with(client, "1/m", 2, 100), [3]int{0, 2, 2}},
		{"room for more", client, with(client, "10/s", 3, 5000), [3]int{0, 2, 3}},
		{"of another header", config.Rate{Requests: "10/s", Burst: 3, Per: "header", Header: "A", Keys: 100}, config.Rate{Requests: "10/s", Burst: 3, Per: "header", Header: "B", Keys: 100}, [3]int{3, 3, 3}},
		{"all together", all, with(all, "1000/s", 30, 0), [3]int{0, 0, 0}},
		{"of clients after all together", all, client, [3]int{3, 3, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, err := NewRate(tt.from, nil)
				if err != nil {
					t.Fatal(err)
				}
				for range 5 {
					r.Take([]byte("all"))
				}
				r.Take([]byte("one"))
				if r, err = NewRate(tt.to, r); err != nil {
					t.Fatal(err)
				}
				for i, key := range []string{"all", "one", "another"} {
					n := 0
					for ; n < 100; n++ {
						if _, ok := r.Take([]byte(key)); !ok {
							break
						}
					}
					if n != tt.want[i] {
						t.Errorf("%q has %d tokens, want %d", key, n, tt.want[i])
					}
				}
			})
		})
	}
}

// TestRateForgetsTheQuiet: far more keys than there is room for do not let anybody who is busy through more often.
func TestRateForgetsTheQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := NewRate(config.Rate{Requests: "10/s", Burst: 5, Per: "client", Keys: 64}, nil)
		if err != nil {
			t.Fatal(err)
		}
		good := 0
		for i := range 10_000 { // a hundred others a second, ten times what is allowed of the one
			time.Sleep(time.Millisecond)
			if i%10 == 0 {
				r.Take(fmt.Append(nil, "other ", i))
			}
			if i%10 == 5 {
				if _, ok := r.Take([]byte("busy")); ok {
					good++
				}
			}
		}
		if good < 100 || good > 110 {
			t.Errorf("%d in ten seconds, of 10 a second", good)
		}
	})
}

func TestModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		level := 0.0
		var told []string
		m := NewModes(Signals{Shedding: func(string) float64 { return level }}, func(r event.Record) { told = append(told, r.Kind) })
		c := []config.Mode{
			{Name: "less", When: &config.ModeWhen{Shedding: "web", Level: 20, For: config.Duration(time.Second), Rest: config.Duration(5 * time.Second)}},
			{Name: "by-hand"},
		}
		m.Set(m.Stage(c))
		look := func(d time.Duration) {
			for range int(d / modeLook) {
				time.Sleep(modeLook)
				for _, mode := range m.all() {
					mode.look(m.signals)
				}
			}
		}
		expect := func(what, names string, events int) {
			t.Helper()
			if string(m.Names()) != names || len(told) != events {
				t.Errorf("%s: %q is on, events %v", what, m.Names(), told)
			}
		}
		look(2 * time.Second)
		expect("at first", "", 0)
		level = 0.3
		look(500 * time.Millisecond)
		expect("not long enough", "", 0)
		look(time.Second)
		expect("long enough", "less", 1)
		m.Set(m.Stage(c))
		expect("after a reload", "less", 1)
		level = 0.15
		look(20 * time.Second)
		expect("between the two levels", "less", 1)
		level = 0.05
		look(4 * time.Second)
		expect("not over for long", "less", 1)
		look(2 * time.Second)
		expect("over", "", 2)
		if err := m.Turn("by-hand", On); err != nil {
			t.Fatal(err)
		}
		_ = m.Turn("less", Off)
		level = 0.9
		look(10 * time.Second)
		expect("by hand", "by-hand", 3)
		_ = m.Turn("less", Auto)
		_ = m.Turn("by-hand", Auto)
		look(2 * time.Second)
		expect("by itself again", "less", 5)
		if m.Turn("more", On) != ErrNoMode || m.Turn("less", "maybe") == nil {
			t.Error("a mode that is none was turned, or turned to nothing")
		}
	})
}
