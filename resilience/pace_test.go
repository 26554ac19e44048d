package resilience

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPaceMovesWhileItIsAskedAndSleepsThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []tick
		p := newPace(newClock(), spans*time.Second)
		p.moves = func(t tick) { told = append(told, t) }
		time.Sleep(2500 * time.Millisecond)
		for want := tick(2); want < 6; want++ {
			if got := p.now(); got != want {
				t.Fatalf("bucket %d, want %d", got, want)
			}
			p.now() // asked again: it goes on
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		if p.tick.Load() != asleep || len(told) != 5 {
			t.Errorf("an hour later it is at %d and has moved %d times, want it asleep after 5", p.tick.Load(), len(told))
		}
		if got, want := p.now(), p.ticker.at(p.clock.now()); got != want {
			t.Errorf("woken in bucket %d, want %d", got, want)
		}
	})
}

func TestFlowCountsWhatIsSpreadOverShards(t *testing.T) {
	f := flow{make(counts, 4)}
	for i := range 1000 {
		f.words[i%4].n.Add(1<<32 | 1)     // begins on one shard
		f.words[(i+1)%4].n.Add(-1)        // and ends on another
		f.words[(i+2)%4].n.Add(1<<32 | 1) // this one stays
	}
	if begun, atWork := f.read(); begun != 2000 || atWork != 1000 {
		t.Errorf("%d begun, %d at work; want 2000, 1000", begun, atWork)
	}
	f.words[0].n.Add(-1001) // seen to end before it is seen to begin
	if begun, atWork := f.read(); begun != 2000 || atWork != 0 {
		t.Errorf("%d begun, %d at work; want 2000, 0", begun, atWork)
	}
}

// TestRecentForgets compares with counting by hand, over silences of all lengths.
func TestRecentForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(newClock(), spans*time.Second)
		r := newRecent(newFlow(), p)
		var at []tick
		time.Sleep(time.Millisecond) // off the buckets' borders, where the timer and this goroutine would race
		for i := range 300 {
			for range i % 5 {
				r.begin()
				at = append(at, p.ticker.at(p.clock.now()))
			}
			time.Sleep(time.Duration(i*i%7) * time.Second)
			now, want := p.ticker.at(p.clock.now()), 0
			for _, then := range at {
				want += b2i(now-then < spans)
			}
			if got, _ := r.read(now, spans); got != want {
				t.Fatalf("step %d: %d in the window, want %d", i, got, want)
			}
		}
	})
}
