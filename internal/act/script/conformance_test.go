package script

import (
	"slices"
	"testing"

	"github.com/backstay/backstay/internal/act/conformance"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Options{
		Asynchronous: true,
		New:          func(t *testing.T) conformance.Lab { return newLab(t, nil) },
		Rescues: func(t *testing.T, c conformance.Lab, node, value string) {
			if given, err := c.(*lab).lines(node, "given-up"); err != nil || !slices.Contains(given, value) {
				t.Errorf("given up was %v (%v), not %q", given, err, value)
			}
		},
	})
}
