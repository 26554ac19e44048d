package resilience

import (
	"fmt"
	"testing"
	"time"
)

func TestModeHasHysteresis(t *testing.T) {
	tests := []struct {
		name    string
		signals []float64 // one each second
		want    string    // open after each
	}{
		{"low", []float64{0, 0.4, 0.79}, "..."},
		{"high for long enough", []float64{0.8, 0.9, 1, 1}, "..OO"},
		{"high but not for long", []float64{1, 1, 0, 1, 1, 1}, ".....O"},
		{"between the two it stays open", []float64{1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5}, "..OOOOOOO"},
		{"low for long enough", []float64{1, 1, 1, 0, 0, 0, 0, 0.4, 1, 1, 1}, "..OOOOO...O"},
		{"low but not for long", []float64{1, 1, 1, 0, 0, 0, 0.5, 0, 0, 0, 0, 0}, "..OOOOOOOOO."},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			changes := 0
			m := NewMode("less", ModeOptions{Open: 0.8, For: 2 * time.Second, Rest: 4 * time.Second, OnChange: func(c ModeChange) {
				if changes++; c.Name != "less" || c.Open != (changes%2 == 1) || c.Forced {
					t.Errorf("told %+v", c)
				}
			}})
			got := ""
			for _, s := range tt.signals {
				m.Observe(s)
				got += map[bool]string{true: "O", false: "."}[m.Open()]
				time.Sleep(time.Second)
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestModeByHand(t *testing.T) {
	inBubble(t, "force", func(t *testing.T) {
		var told []string
		m := NewMode("less", ModeOptions{Open: 1, OnChange: func(c ModeChange) { told = append(told, fmt.Sprint(c.Open, c.Forced, c.Signal)) }})
		for range 20 {
			m.Observe(0.2)
			m.Force(true)
			time.Sleep(time.Second)
		}
		if !m.Open() || m.Name() != "less" {
			t.Error("a forced mode closed by itself")
		}
		m.Auto()
		for range 12 {
			m.Observe(0)
			time.Sleep(time.Second)
		}
		if m.Open() || fmt.Sprint(told) != "[true true 0.2 false false 0]" {
			t.Errorf("open %v, told %v", m.Open(), told)
		}
	})
}

func BenchmarkMode(b *testing.B) {
	m := NewMode("less", ModeOptions{Open: 1})
	b.Run("open", func(b *testing.B) { parallel(b, func() { m.Open() }) })
	b.Run("observe", func(b *testing.B) { parallel(b, func() { m.Observe(0.5) }) })
}
