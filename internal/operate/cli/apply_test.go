package cli

import (
	"context"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// versioned is a fake cluster's configuration: par-2 cannot use what says "bad", par-3 is away, and what says "late" takes a
// restart of par-1. When "rival" is tried somebody else applies something in the meantime.
type versioned struct{ versions []api.Version }

func (f *versioned) newest() (v api.Version) {
	if n := len(f.versions); n > 0 {
		v = f.versions[n-1]
	}
	return v
}

func (f *versioned) Version(_ context.Context, number int) (api.Version, error) {
	if number == 0 {
		number = len(f.versions)
	}
	if number < 1 || number > len(f.versions) {
		return api.Version{}, api.Errorf(api.NotFound, "there is no version %d", number)
	}
	return f.versions[number-1], nil
}

func (f *versioned) History(context.Context) ([]api.Version, error) {
	all := []api.Version{}
	for _, v := range f.versions {
		v.Text = ""
		all = append([]api.Version{v}, all...)
	}
	return all, nil
}

func (f *versioned) Try(_ context.Context, d api.Draft) (api.Trial, error) {
	t := api.Trial{Base: f.newest(), Same: f.newest().Text == d.Text, Changes: []string{"~ services.web.x: 1 → 2"}, Answers: answersTo(d.Text)}
	if strings.Contains(d.Text, "rival") {
		f.add(api.Applying{Draft: api.Draft{Text: "services: [{name: other, members: [1.2.3.4:5]}]\n"}, By: "eve", Message: "quicker"})
	}
	if strings.Contains(d.Text, "gone") {
		t.Notes = []string{"db is stopped on par-1. Its data stays"}
	}
	return t, nil
}

func answersTo(text string) []api.Answer {
	all := []api.Answer{{Node: "par-1", State: api.AnswerGood}, {Node: "par-2", State: api.AnswerGood}, {Node: "par-3", State: api.AnswerAway}}
	if strings.Contains(text, "late") {
		all[0].State, all[0].Detail = api.AnswerRestart, "store.profile cannot change while the node runs"
	}
	if strings.Contains(text, "bad") {
		all[1].State, all[1].Detail = api.AnswerError, "listener :80: the port is taken\nand so on"
	}
	return all
}

func (f *versioned) add(a api.Applying) api.Version {
	v := api.Version{
		Number: len(f.versions) + 1, Time: time.Date(2026, 3, 1, 12, len(f.versions), 0, 0, time.UTC), By: a.By, Node: "par-1",
		Message: a.Message, Of: a.Of, Text: a.Text,
	}
	f.versions = append(f.versions, v)
	return v
}

func (f *versioned) Apply(_ context.Context, a api.Applying) (api.Version, error) {
	if newest := f.newest(); newest.Number != a.Base {
		return api.Version{}, api.Errorf(api.Refused, "version %d was applied meanwhile, by %s", newest.Number, newest.By)
	}
	return f.add(a), nil
}

func (f *versioned) Answers(context.Context) ([]api.Answer, error) {
	all := answersTo(f.newest().Text)
	for i := range all {
		all[i].Version = len(f.versions)
		if all[i].State == api.AnswerGood {
			all[i].State = api.AnswerUses
		}
		if strings.Contains(f.newest().Text, "half") && all[i].Node == "par-2" {
			all[i].State, all[i].Detail = api.AnswerError, "db: no programs"
		}
	}
	return all, nil
}
