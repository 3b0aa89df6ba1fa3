package main

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const syncTimeout = 60 * time.Second

// Source holds the last seen pods, namespaces and policies.
type Source struct {
	// Changed holds one element when anything changed since it was last emptied.
	Changed chan struct{}

	pods, namespaces, policies cache.Store
}

// Watch starts the watches and returns when each has listed everything once.
//
// It uses bare REST clients: the full client set would compile every API group of Kubernetes.
func Watch(ctx context.Context, config *rest.Config) (*Source, error) {
	core, err := client(config, "/api", corev1.SchemeGroupVersion, corev1.AddToScheme)
	if err != nil {
		return nil, err
	}
	networking, err := client(config, "/apis", netv1.SchemeGroupVersion, netv1.AddToScheme)
	if err != nil {
		return nil, err
	}
	source := &Source{Changed: make(chan struct{}, 1)}
	var synced []cache.InformerSynced
	start := func(from rest.Interface, resource string, example runtime.Object) cache.Store {
		store, controller := cache.NewInformerWithOptions(cache.InformerOptions{
			ListerWatcher: cache.NewListWatchFromClient(from, resource, corev1.NamespaceAll, fields.Everything()),
			ObjectType:    example,
			Handler: cache.ResourceEventHandlerFuncs{
				AddFunc:    func(any) { source.mark() },
				UpdateFunc: func(_, _ any) { source.mark() },
				DeleteFunc: func(any) { source.mark() },
			},
		})
		synced = append(synced, controller.HasSynced)
		go controller.RunWithContext(ctx)
		return store
	}
	source.pods = start(core, "pods", &corev1.Pod{})
	source.namespaces = start(core, "namespaces", &corev1.Namespace{})
	source.policies = start(networking, "networkpolicies", &netv1.NetworkPolicy{})

	limited, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if !cache.WaitForCacheSync(limited.Done(), synced...) {
		return nil, errors.New("the API server did not list them within 60 s")
	}
	return source, nil
}

// State is what was last seen.
func (s *Source) State() State {
	state := State{Namespaces: map[string]map[string]string{}}
	for _, object := range s.pods.List() {
		state.Pods = append(state.Pods, object.(*corev1.Pod))
	}
	for _, object := range s.namespaces.List() {
		namespace := object.(*corev1.Namespace)
		state.Namespaces[namespace.Name] = namespace.Labels
	}
	for _, object := range s.policies.List() {
		state.Policies = append(state.Policies, object.(*netv1.NetworkPolicy))
	}
	return state
}

func (s *Source) mark() {
	select {
	case s.Changed <- struct{}{}:
	default: // it is marked already
	}
}

func client(config *rest.Config, path string, version schema.GroupVersion, register func(*runtime.Scheme) error) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := register(scheme); err != nil {
		return nil, err
	}
	own := rest.CopyConfig(config)
	own.APIPath = path
	own.GroupVersion = &version
	own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientFor(own)
}
