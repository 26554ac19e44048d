package resilience

import (
	"context"
	"errors"
	"testing"
)

func TestFirstOf(t *testing.T) {
	errOther := errors.New("other")
	ended, end := context.WithCancel(background)
	end()
	late, cancel := context.WithTimeout(background, -1)
	defer cancel()
	tests := []struct {
		name  string
		ctx   context.Context
		calls []func(context.Context) (int, error)
		want  int
		which int
		errs  []error
	}{
		{"the first", background, []func(context.Context) (int, error){answer(1, nil), answer(2, nil)}, 1, 0, nil},
		{"the next", background, []func(context.Context) (int, error){answer(1, errDown), answer(2, nil)}, 2, 1, nil},
		{"a static one", background, []func(context.Context) (int, error){answer(1, errDown), answer(2, errOther), Static(3)}, 3, 2, nil},
		{"none", background, []func(context.Context) (int, error){answer(1, errDown), answer(2, errOther)}, 0, -1, []error{errDown, errOther}},
		{"a wrong call", background, []func(context.Context) (int, error){answer(1, Permanent(errDown)), Static(3)}, 0, -1, []error{errDown}},
		{"the caller left", ended, []func(context.Context) (int, error){answer(1, errDown), Static(3)}, 0, -1, []error{errDown}},
		{"too late for all but a static one", late, []func(context.Context) (int, error){answer(1, context.DeadlineExceeded), Static(3)}, 3, 1, nil},
		{"nothing to ask", background, nil, 0, -1, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, which, err := FirstOf(tt.ctx, tt.calls...)
			if got != tt.want || which != tt.which || (err == nil) != (len(tt.errs) == 0) {
				t.Errorf("%d from %d, %v", got, which, err)
			}
			for _, want := range tt.errs {
				if !errors.Is(err, want) {
					t.Errorf("%v does not tell of %v", err, want)
				}
			}
		})
	}
}
