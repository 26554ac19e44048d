package snapshot

import (
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		config config.Redirect
		secure bool
		want   string
	}{
		{config.Redirect{Scheme: "https"}, false, "https://h/p/q?x=1"},
		{config.Redirect{Scheme: "https", Host: "other:8443"}, false, "https://other:8443/p/q?x=1"},
		{config.Redirect{Path: "/new"}, true, "https://h:8080/new?x=1"},
		{config.Redirect{Host: "www.h"}, false, "http://www.h/p/q?x=1"},
	} {
		r := &Redirect{config: tt.config}
		if got := string(r.AppendLocation(nil, request(t, "GET", "/p/q?x=1", "h:8080", ""), tt.secure)); got != tt.want {
			t.Errorf("%+v leads to %s, want %s", tt.config, got, tt.want)
		}
	}
}

func TestRewrite(t *testing.T) {
	for _, tt := range []struct {
		config   config.Rewrite
		in, want string
	}{
		{config.Rewrite{Strip: "/api"}, "/api/x", "/x"},
		{config.Rewrite{Strip: "/api/"}, "/api/x", "/x"},
		{config.Rewrite{Strip: "/api"}, "/api", "/"},
		{config.Rewrite{Strip: "/api"}, "/apix", "/apix"},
		{config.Rewrite{Prefix: "/v1"}, "/x", "/v1/x"},
		{config.Rewrite{Strip: "/api", Prefix: "/v1/"}, "/api/x%20y", "/v1/x%20y"},
		{config.Rewrite{Regex: `^/user/(\d+)$`, To: "/u?id=$1"}, "/user/7", "/u?id=7"},
		{config.Rewrite{Regex: `^/user/(\d+)$`, To: "/u/$1"}, "/user/x", "/user/x"},
	} {
		r, err := newRewrite(&tt.config)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(r.AppendPath(nil, []byte(tt.in))); got != tt.want {
			t.Errorf("%+v makes %s of %s, want %s", tt.config, got, tt.in, tt.want)
		}
	}
}

func TestHeaderEdit(t *testing.T) {
	t.Setenv("TOKEN", "s3cret")
	e, err := newHeaderEdit(&config.HeaderEdit{
		Remove: []string{"Server"},
		Set:    map[string]config.Secret{"X-Token": {Env: "TOKEN"}, "X-A": {Text: "1"}},
		Add:    map[string]config.Secret{"Via": {Text: "backstay"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range e.Fields {
		got = append(got, string(f.Name)+"="+string(f.Value))
	}
	if s := strings.Join(got, " "); s != "X-A=1 X-Token=s3cret Via=backstay" {
		t.Errorf("appends %q", s)
	}
	for name, want := range map[string]bool{"SERVER": true, "x-token": true, "via": false, "X-B": false} {
		if e.Drops([]byte(name)) != want {
			t.Errorf("drops %s: %v", name, !want)
		}
	}
	if _, err := newHeaderEdit(&config.HeaderEdit{Set: map[string]config.Secret{"X": {Text: "a\r\nEvil: 1"}}}); err == nil {
		t.Error("a line break in a header value was taken")
	}
}

func TestRetryOn(t *testing.T) {
	r, err := newRetry(config.Retry{On: []string{"connect", "503"}})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Connect || r.Reset || r.Timeout || !r.Status(503) || r.Status(502) || r.Status(0) || r.Status(99999) {
		t.Errorf("got %+v", r)
	}
	for _, on := range []string{"never", "200", "777"} {
		if _, err := newRetry(config.Retry{On: []string{on}}); err == nil {
			t.Errorf("on: %s was taken", on)
		}
	}
}

func TestCookie(t *testing.T) {
	got := string(AppendCookie(nil, &config.Sticky{Cookie: "c", TTL: config.Duration(time.Hour)}, "k", true))
	if got != "c=k; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure" {
		t.Error(got)
	}
}

func TestRespondType(t *testing.T) {
	for body, want := range map[string]string{"[]": "application/json", "sorry": "text/plain; charset=utf-8"} {
		if r := newRespond(&config.Respond{Status: 200, Body: body}); string(r.Fields[0].Value) != want {
			t.Errorf("%s is sent as %s", body, r.Fields[0].Value)
		}
	}
}
