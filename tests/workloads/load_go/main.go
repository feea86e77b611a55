// A program as programs are: maps, sorting, JSON, generics, closures, garbage, goroutines. Prints "ready" at once.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

type item struct {
	Name  string
	Price int
	Tags  []string
}

var word = regexp.MustCompile(`^([a-z]+)-(\d+)$`)

func items(seed int) []item {
	list := make([]item, 500)
	for i := range list {
		list[i] = item{"item-" + strconv.Itoa(seed*31+i), i * 7 % 100, []string{"a" + strconv.Itoa(i%5)}}
	}
	return list
}

func total[T any](list []T, tags func(T) []string, price func(T) int) int {
	sums := map[string]int{}
	for _, one := range list {
		for _, tag := range tags(one) {
			sums[tag] += price(one)
		}
	}
	all := 0
	for _, sum := range sums {
		all += sum
	}
	return all
}

func report(list []item) string {
	sort.Slice(list, func(a, b int) bool { return list[a].Price > list[b].Price })
	data, _ := json.Marshal(list)
	var again []item
	_ = json.Unmarshal(data, &again)
	var text strings.Builder
	for _, one := range again {
		fmt.Fprintf(&text, "%s: %d\n", one.Name, one.Price)
	}
	return text.String()
}

func matches(list []item) (found int) {
	for _, one := range list {
		if word.MatchString(one.Name) {
			found++
		}
	}
	return found
}

func work(seed int, end time.Time, done *sync.WaitGroup) {
	defer done.Done()
	for round := 0; time.Now().Before(end); round++ {
		list := items(seed + round)
		sum := total(list, func(one item) []string { return one.Tags }, func(one item) int { return one.Price })
		_ = sha256.Sum256([]byte(report(list) + strconv.Itoa(sum+matches(list))))
	}
}

func main() {
	seconds := 1
	if len(os.Args) > 1 {
		seconds, _ = strconv.Atoi(os.Args[1])
	}
	fmt.Println("ready")
	var done sync.WaitGroup
	for seed := 0; seed < 4; seed++ {
		done.Add(1)
		go work(seed, time.Now().Add(time.Duration(seconds)*time.Second), &done)
	}
	done.Wait()
}
