#!/usr/bin/env python3
"""Checks the Kubernetes manifests without a cluster.

usage: build/venv/bin/python scripts/check_manifests.py [--base DIR] [--programs DIR] [--print]

  --base DIR      the kustomize base (default manifests/kubernetes/base)
  --programs DIR  where the programs are (default build/release/bin); those that exist are asked whether
                  the arguments of their containers are valid settings
  --print         print the resolved objects as YAML and stop

Resolves the base as kustomize would (only the fields that it uses), validates each object strictly against
the schemas of every Kubernetes version in VERSIONS, and then checks what schemas cannot: that names lead
somewhere, that ports, probes and flags agree, that every pod keeps the rules for privileges.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35")
# The image names of the manifests: the program that runs in each.
PROGRAMS = {"shoal-tracker": "shoal-tracker", "shoal-agent": "shoal-agent", "shoal": "shoal"}
DOCKERFILES = {"shoal-tracker": "tracker", "shoal-agent": "agent", "shoal": "cli"}
# Made by whoever installs Shoal (manifests/kubernetes/README.md), or by Kubernetes itself.
EXTERNAL = {("Secret", "shoal-tracker-tls"), ("Secret", "shoal-operator-tls"),
            ("ConfigMap", "kube-root-ca.crt")}
IN_EVERY_IMAGE = {"libc6", "libgcc-s1", "libstdc++6"}
SAMPLE_FIELDS = {"spec.nodeName": "gpu-1.example", "status.hostIP": "10.0.0.1"}
CLUSTER_SCOPED = {"Namespace", "ClusterRole", "ClusterRoleBinding", "PriorityClass"}
FIELDS = {"apiVersion", "kind", "namespace", "labels", "resources", "images"}


class Base:
    """The objects of a kustomize base and the file that each came from."""

    def __init__(self, folder):
        self.folder = folder
        self.problems = []
        self.objects = []  # (file, object)
        with open(os.path.join(folder, "kustomization.yaml"), encoding="utf-8") as file:
            self.kustomization = yaml.safe_load(file)
        for field in sorted(set(self.kustomization) - FIELDS):
            self.problems.append(f"kustomization.yaml: this script cannot resolve '{field}'")
        resources = self.kustomization.get("resources", [])
        for name in sorted(set(os.listdir(folder)) - {"kustomization.yaml"} - set(resources)):
            self.problems.append(f"{name}: not among the resources of kustomization.yaml")
        for name in resources:
            path = os.path.join(folder, name)
            if not os.path.isfile(path):
                self.problems.append(f"kustomization.yaml: no file {name}")
                continue
            with open(path, encoding="utf-8") as file:
                for document in yaml.safe_load_all(file):
                    self.objects.append((name, self._transformed(document)))

    def _transformed(self, document):
        """What kustomize makes of an object: namespace, labels, images."""
        metadata = document.setdefault("metadata", {})
        if document["kind"] not in CLUSTER_SCOPED:
            metadata["namespace"] = self.kustomization["namespace"]
        for entry in self.kustomization.get("labels", []):
            metadata.setdefault("labels", {}).update(entry["pairs"])
        for container in containers(pod_spec(document) or {}):
            for image in self.kustomization.get("images", []):
                if container["image"] == image["name"]:
                    container["program"] = container["image"]
                    container["image"] = f"{image['newName']}:{image['newTag']}"
        return document


def pod_spec(document):
    """The pod that an object makes, or None."""
    return (document.get("spec") or {}).get("template", {}).get("spec") \
        if document["kind"] in ("Deployment", "DaemonSet", "Job") else None


def containers(pod):
    return pod.get("initContainers", []) + pod.get("containers", [])


def label(name, document):
    return f"{name}: {document['kind']} {document['metadata'].get('name', '?')}"


def without_notes(document):
    """The object without what _transformed noted in it for the checks below."""
    if isinstance(document, dict):
        return {k: without_notes(v) for k, v in document.items() if k != "program"}
    if isinstance(document, list):
        return [without_notes(v) for v in document]
    return document


def check_schemas(base, versions):
    for name, document in base.objects:
        for version in versions:
            try:
                kubernetes_validate.validate(without_notes(document), version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(p) for p in error.path)
                yield f"{label(name, document)}: Kubernetes {version}: {where}: {error.message}"
            except (kubernetes_validate.InvalidSchemaError,
                    kubernetes_validate.SchemaNotFoundError) as error:
                yield f"{label(name, document)}: Kubernetes {version}: {error.message}"


def volume_references(pod):
    for volume in pod.get("volumes", []):
        sources = [volume, *volume.get("projected", {}).get("sources", [])]
        for source in sources:
            if "secret" in source:
                yield "Secret", source["secret"].get("secretName", source["secret"].get("name"))
            if "configMap" in source:
                yield "ConfigMap", source["configMap"]["name"]
            if "persistentVolumeClaim" in source:
                yield "PersistentVolumeClaim", source["persistentVolumeClaim"]["claimName"]


def check_references(base):
    """Every name that an object uses is that of an object here, or a documented one from outside."""
    known = {(d["kind"], d["metadata"]["name"]) for _, d in base.objects} | EXTERNAL
    pods = [d for _, d in base.objects if pod_spec(d)]
    for name, document in base.objects:
        used = []
        pod = pod_spec(document)
        if pod:
            used += [("ServiceAccount", pod.get("serviceAccountName")), *volume_references(pod)]
            for container in containers(pod):
                used += [("ConfigMap", e["configMapRef"]["name"])
                         for e in container.get("envFrom", []) if "configMapRef" in e]
        if document["kind"].endswith("Binding"):
            used.append((document["roleRef"]["kind"], document["roleRef"]["name"]))
            used += [(s["kind"], s["name"]) for s in document["subjects"]]
        for reference in used:
            if reference not in known:
                yield f"{label(name, document)}: no {reference[0]} is called {reference[1]}"
        if document["kind"] in ("Deployment", "DaemonSet"):
            labels = document["spec"]["template"]["metadata"]["labels"]
            if not document["spec"]["selector"]["matchLabels"].items() <= labels.items():
                yield f"{label(name, document)}: its selector does not match its pods"
        selector = {"Service": lambda d: d["spec"]["selector"],
                    "NetworkPolicy": lambda d: d["spec"]["podSelector"]["matchLabels"]}.get(
                        document["kind"])
        if selector:
            chosen = [p for p in pods if selector(document).items()
                      <= p["spec"]["template"]["metadata"]["labels"].items()]
            if not chosen:
                yield f"{label(name, document)}: selects no pod"
            ports = {p["name"] for c in chosen for k in containers(pod_spec(c))
                     for p in k.get("ports", [])}
            wanted = [p.get("targetPort") for p in document["spec"].get("ports", [])]
            wanted += [p["port"] for rule in document["spec"].get("ingress", [])
                       for p in rule.get("ports", [])]
            for port in wanted:
                if port not in ports:
                    yield f"{label(name, document)}: no container has a port '{port}'"


def check_pod(where, pod):
    """Volumes, probes, privileges."""
    volumes = {v["name"] for v in pod.get("volumes", [])}
    mounted = {m["name"] for c in containers(pod) for m in c.get("volumeMounts", [])}
    for name in sorted(mounted ^ volumes):
        yield f"{where}: volume '{name}' is " + ("not mounted" if name in volumes else "not declared")
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{where}: automountServiceAccountToken must be false"
    if pod.get("enableServiceLinks") is not False:
        yield f"{where}: enableServiceLinks must be false: its variables would begin with SHOAL_"
    for container in containers(pod):
        who = f"{where}: container {container['name']}"
        if "program" not in container:
            yield f"{who}: image '{container['image']}' is not one of kustomization.yaml's"
        security = container.get("securityContext", {})
        if security.get("allowPrivilegeEscalation") is not False \
                or security.get("readOnlyRootFilesystem") is not True \
                or security.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"{who}: must drop all capabilities, escalation and writing to its root"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield f"{who}: has no memory limit"
        ports = {p["name"]: p["containerPort"] for p in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if port is not None and port not in ports:
                yield f"{who}: {probe} asks port '{port}', which it does not have"
        yield from check_arguments(who, container, ports)


def check_arguments(who, container, ports):
    """Variables, paths and ports in the arguments."""
    arguments = container.get("args", [])
    variables = {e["name"] for e in container.get("env", [])}
    open_set = bool(container.get("envFrom"))
    mounts = [m["mountPath"] for m in container.get("volumeMounts", [])]
    listens = set()
    for argument in arguments:
        for variable in re.findall(r"\$\((\w+)\)", argument):
            if variable not in variables and not open_set:
                yield f"{who}: {argument}: no variable {variable}"
        flag, _, value = argument.partition("=")
        if value.startswith("/"):
            if not any(value == m or value.startswith(m + "/") for m in mounts):
                yield f"{who}: {argument}: nothing is mounted there"
        # What only the machine itself reaches is no port of the container.
        if flag.endswith("listen") and not value.startswith("127."):
            listens.add(int(value.rsplit(":", 1)[1]))
        if flag == "--advertise" and int(value.rsplit(":", 1)[1]) not in ports.values():
            yield f"{who}: {argument}: not a port of this container"
    if listens != set(ports.values()):
        yield f"{who}: listens on {sorted(listens)} but declares {sorted(ports.values())}"


def sample_value(container, variable, config_maps):
    """A value that a variable of the container could have."""
    for entry in container.get("env", []):
        if entry["name"] == variable:
            field = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            return SAMPLE_FIELDS[field] if field else entry["value"]
    for entry in container.get("envFrom", []):
        data = config_maps.get(entry["configMapRef"]["name"], {})
        if variable in data:
            return data[variable]
    return ""


def check_program(where, pod, programs, config_maps):
    """Each program takes its arguments as valid settings (needs the programs)."""
    for container in pod.get("containers", []):
        program = os.path.join(programs, PROGRAMS.get(container.get("program"), "?"))
        if not os.access(program, os.X_OK):
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
            # As the init container writes it (manifests/docker/topology.sh).
            config.write('{"topology": {"region": "eu"}, "labels": {"a.example/b": "c"}}')
            config.flush()
            arguments = [re.sub(r"\$\((\w+)\)",
                                lambda m: sample_value(container, m.group(1), config_maps), a)
                         for a in container["args"]]
            arguments = [re.sub(r"^--config=.*", f"--config={config.name}", a) for a in arguments]
            done = subprocess.run([program, *arguments, "--check-config"], capture_output=True,
                                  text=True, check=False, timeout=30, env={})
        if done.returncode != 0:
            yield f"{where}: {os.path.basename(program)} refuses its arguments: " \
                  f"{(done.stderr or done.stdout).strip()}"


def library_packages(program):
    """The Debian packages of the libraries that a program names itself; theirs come with them. None for a
    script."""
    def output(*argv):
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    names = set(re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", program)))
    packages = set()
    for name, path in re.findall(r"(\S+) => (/\S+)", output("ldd", program)):
        if name in names:
            owners = output("dpkg", "-S", path, os.path.join("/usr", path[1:]))
            packages |= set(re.findall(r"^(\S+?):", owners, re.MULTILINE))
    return packages


def check_images(base, programs):
    """Each image is one that scripts/images builds, from a Dockerfile that runs the program and installs
    what it is linked with."""
    for image in base.kustomization.get("images", []):
        if image["name"] not in PROGRAMS:
            yield f"kustomization.yaml: image {image['name']} is none of ours"
            continue
        path = os.path.join(ROOT, "manifests/docker", f"Dockerfile.{DOCKERFILES[image['name']]}")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        program = PROGRAMS[image["name"]]
        where = os.path.relpath(path, ROOT)
        if f'ENTRYPOINT ["/usr/bin/{program}"]' not in text:
            yield f'{where}: no line ENTRYPOINT ["/usr/bin/{program}"]'
        built = os.path.join(programs, program)
        if os.path.exists(built):
            missing = library_packages(built) - IN_EVERY_IMAGE - set(text.split())
            yield from (f"{where}: {program} is linked with {name}" for name in sorted(missing))


def check(folder, programs, versions=VERSIONS):
    """All problems of the base in `folder`, as text lines."""
    base = Base(folder)
    problems = [*base.problems, *check_schemas(base, versions), *check_references(base),
                *check_images(base, programs)]
    config_maps = {d["metadata"]["name"]: d["data"] for _, d in base.objects
                   if d["kind"] == "ConfigMap"}
    for name, document in base.objects:
        pod = pod_spec(document)
        if pod:
            problems += check_pod(label(name, document), pod)
            problems += check_program(label(name, document), pod, programs, config_maps)
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=os.path.join(ROOT, "manifests/kubernetes/base"))
    parser.add_argument("--programs", default=os.path.join(ROOT, "build/release/bin"))
    parser.add_argument("--print", action="store_true")
    args = parser.parse_args()
    if args.print:
        yaml.safe_dump_all([without_notes(d) for _, d in Base(args.base).objects], sys.stdout,
                           sort_keys=False)
        return 0
    problems = check(args.base, args.programs)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
