package cluster

import "testing"

func TestProfilesFit(t *testing.T) {
	for i, p := range Profiles() {
		if err := p.Validate(); err != nil {
			t.Error(err)
		}
		if got, err := ProfileNamed(p.Name); err != nil || got != p {
			t.Errorf("ProfileNamed(%s) = %v, %v", p.Name, got, err)
		}
		if i > 0 && p.LeaseTTL <= Profiles()[i-1].LeaseTTL {
			t.Errorf("%s is not slower than the one before", p.Name)
		}
	}
	if p, err := ProfileNamed(""); err != nil || p.Name != "lan" {
		t.Errorf("the default is %s, %v", p.Name, err)
	}
	if _, err := ProfileNamed("moon"); err == nil {
		t.Error("an unknown profile was taken")
	}
}

func TestProfileThatDoesNotFitIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Profile){
		"election longer than the lease": func(p *Profile) { p.StoreElection = p.LeaseTTL },
		"rare renewal":                   func(p *Profile) { p.LeaseRenew = p.LeaseTTL / 2 },
		"no margin":                      func(p *Profile) { p.LeaseMargin = 0 },
		"late suspicion":                 func(p *Profile) { p.Suspicion = 2 * p.LeaseTTL },
		"hasty suspicion":                func(p *Profile) { p.Suspicion = p.Heartbeat },
		"hasty election":                 func(p *Profile) { p.StoreHeartbeat = p.StoreElection / 2 },
		"no heartbeat":                   func(p *Profile) { p.Heartbeat = 0 },
	} {
		p, _ := ProfileNamed("lan")
		change(&p)
		if p.Validate() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
