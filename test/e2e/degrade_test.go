package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/operate/api"
)

// TestDegradation: a mode that is turned by hand spares its service until it is turned back, through a reload; a limit that a reload changes is
// in force at once; the status and the events say so.
func TestDegradation(t *testing.T) {
	web := startNginx(t, "web")
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	n := startNode(t, fmt.Sprintf(`
services:
  - name: web
    members: [%q]
    limit: {concurrency: 10}
    shed: on
modes:
  - {name: web-off, when: {shedding: web}, service: web, respond: {status: 203, body: less}}
listeners:
  - {listen: %q, routes: [{service: web}]}
`, web.address, address))
	get := func() (int, string) {
		t.Helper()
		res, err := http.Get("http://" + address + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	await(t, patience, "the service answers", func() bool { status, _ := get(); return status == 200 })
	n.command("degrade", "web-off", "on")
	if status, body := get(); status != 203 || body != "less" {
		t.Errorf("with the mode on: %d %q", status, body)
	}
	old, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	n.write(t, strings.Replace(string(old), "concurrency: 10", "concurrency: 7", 1))
	n.command("reload")
	if status, _ := get(); status != 203 {
		t.Errorf("after a reload: %d", status)
	}
	if text := n.command("status"); !strings.Contains(text, "limit 7") || !strings.Contains(text, "web-off") || !strings.Contains(text, "by hand") {
		t.Errorf("the status says:\n%s", text)
	}
	n.command("degrade", "web-off", "auto")
	n.command("degrade", "web-off", "off")
	if status, _ := get(); status != 200 {
		t.Errorf("with the mode off: %d", status)
	}
	var kinds []string
	err = n.client.Events(t.Context(), api.EventQuery{}, func(r event.Record) error {
		if strings.HasPrefix(r.Kind, "mode.") {
			kinds = append(kinds, r.Kind)
		}
		return nil
	})
	if err != nil || strings.Join(kinds, " ") != event.ModeOn+" "+event.ModeOff {
		t.Errorf("events: %v, %v", kinds, err)
	}
}
