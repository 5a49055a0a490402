{{/* The arguments of the program as a YAML list. */}}
{{- define "rust-nginx.args" -}}
{{- $c := .Values.controller -}}
{{- $args := dict -}}
{{- $_ := set $args "configmap" (printf "$(POD_NAMESPACE)/%s" (include "rust-nginx.controller.fullname" .)) -}}
{{- $_ := set $args "controller-class" $c.ingressClassResource.controllerValue -}}
{{- $_ := set $args "ingress-class" $c.ingressClass -}}
{{- $_ := set $args "election-id" (include "rust-nginx.electionID" .) -}}
{{- /* A Service stops sending here some time after the pod got SIGTERM; until then it has to be answered. */ -}}
{{- $_ := set $args "shutdown-grace-period" "10" -}}
{{- with $c.electionTTL -}}{{- $_ := set $args "election-ttl" . -}}{{- end -}}
{{- if $c.disableLeaderElection -}}{{- $_ := set $args "disable-leader-election" "true" -}}{{- end -}}
{{- if or $c.ingressClassByName .Values.rbac.scope -}}{{- $_ := set $args "ingress-class-by-name" "true" -}}{{- end -}}
{{- if $c.watchIngressWithoutClass -}}{{- $_ := set $args "watch-ingress-without-class" "true" -}}{{- end -}}
{{- if $c.disableCatchAll -}}{{- $_ := set $args "disable-catch-all" "true" -}}{{- end -}}
{{- with include "rust-nginx.publishService" . -}}{{- $_ := set $args "publish-service" . -}}{{- end -}}
{{- with include "rust-nginx.watchNamespace" . -}}{{- $_ := set $args "watch-namespace" . -}}{{- end -}}
{{- if $c.scope.enabled -}}{{- with $c.scope.namespaceSelector -}}{{- $_ := set $args "watch-namespace-selector" . -}}{{- end -}}{{- end -}}
{{- if ne (int $c.containerPort.http) 80 -}}{{- $_ := set $args "http-port" $c.containerPort.http -}}{{- end -}}
{{- if ne (int $c.containerPort.https) 443 -}}{{- $_ := set $args "https-port" $c.containerPort.https -}}{{- end -}}
{{- if ne (int $c.metrics.port) 10254 -}}{{- $_ := set $args "healthz-port" $c.metrics.port -}}{{- end -}}
{{- with $c.healthCheckHost -}}{{- $_ := set $args "healthz-host" . -}}{{- end -}}
{{- if ne $c.healthCheckPath "/healthz" -}}{{- $_ := set $args "health-check-path" $c.healthCheckPath -}}{{- end -}}
{{- if .Values.tcp -}}{{- $_ := set $args "tcp-services-configmap" (include "rust-nginx.tcpConfigMap" .) -}}{{- end -}}
{{- if .Values.udp -}}{{- $_ := set $args "udp-services-configmap" (include "rust-nginx.udpConfigMap" .) -}}{{- end -}}
{{- range $name, $value := $c.extraArgs -}}{{- $_ := set $args $name $value -}}{{- end -}}
- serve
{{- range $name, $value := $args }}
{{- if or (kindIs "invalid" $value) (eq (toString $value) "") }}
- --{{ $name }}
{{- else if kindIs "float64" $value }}
- {{ printf "--%s=%v" $name (int64 $value) | quote }}
{{- else }}
- {{ printf "--%s=%v" $name $value | quote }}
{{- end }}
{{- end }}
{{- end -}}
