package main

import (
	_ "k8s.io/api/core/v1"
	_ "k8s.io/api/networking/v1"
	_ "k8s.io/client-go/rest"
	_ "k8s.io/client-go/tools/cache"
)

func main() {}
