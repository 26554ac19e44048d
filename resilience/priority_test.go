package resilience

import "testing"

func TestPriorityNumbers(t *testing.T) {
	for p := Priority(0); p < priorities; p++ {
		if got, ok := ParsePriority(p.Number()); !ok || got != p {
			t.Fatalf("%s is %d, %v; want %d", p.Number(), got, ok, p)
		}
	}
	if p, ok := ParsePriority("2"); !ok || p != Critical {
		t.Errorf("a class alone is %d, %v", p, ok)
	}
	for _, text := range []string{"", "4", "4.1", "1.128", "1.", ".1", "critical", "-1", "1.x", "1.1.1", "+1"} {
		if p, ok := ParsePriority(text); ok {
			t.Errorf("%q is %d", text, p)
		}
	}
}
