// Package kubernetes holds the part of Pulumi's Go SDK for Kubernetes that the provider itself uses.
//
// The whole SDK takes longer to compile than the rest of the provider.
package kubernetes

import "reflect"

// UntypedArgs is a Kubernetes object as plain data.
type UntypedArgs map[string]any

// ElementType returns the type that Pulumi resolves the arguments to.
func (UntypedArgs) ElementType() reflect.Type { return reflect.TypeFor[map[string]any]() }
