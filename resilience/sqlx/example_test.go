package sqlx

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/backstay/backstay/resilience"
)

func Example() {
	database := &fake{} // a driver.Connector: stdlib.GetConnector(config) of pgx, say
	connector, err := Wrap(database, Options{
		Gates: []resilience.Gate{
			resilience.NewBreaker(resilience.BreakerOptions{}),
			resilience.NewLimit(resilience.LimitOptions{Concurrency: 20, Queue: 50, Wait: time.Second}),
		},
		Retry:    resilience.RetryOptions{Attempts: 5, Backoff: resilience.Backoff{Initial: 100 * time.Millisecond}},
		Timeout:  5 * time.Second,
		ReadOnly: Selects,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var n int
	err = db.QueryRow("SELECT n FROM numbers").Scan(&n)
	fmt.Println(n, err)
	// Output: 1 <nil>
}
