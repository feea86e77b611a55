// As names_c.c: a method and plain functions.
package main

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"time"
)

type basket struct{ size uint64 }

var sink uint64

//go:noinline
func spinInner(n uint64) {
	for i := uint64(0); i < n; i++ {
		sink ^= i * 31
	}
}

//go:noinline
func (b *basket) add() {
	spinInner(b.size)
	sink++
}

//go:noinline
func spinOuter(b *basket) {
	b.add()
	sink++
}

func main() {
	seconds := 1
	if len(os.Args) > 1 {
		seconds, _ = strconv.Atoi(os.Args[1])
	}
	fmt.Printf("spinInner %#x\n", reflect.ValueOf(spinInner).Pointer())
	fmt.Printf("add %#x\n", reflect.ValueOf((*basket).add).Pointer())
	fmt.Printf("spinOuter %#x\nready\n", reflect.ValueOf(spinOuter).Pointer())
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	b := &basket{size: 100000}
	for time.Now().Before(end) {
		spinOuter(b)
	}
}
