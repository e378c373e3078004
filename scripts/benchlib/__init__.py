"""What every benchmark of scripts/bench needs, so that each benchmark only says what it measures.

report     medians with their spread, tables for people, one JSON object for programs
processes  start programs, wait for them, count what they cost, end them whatever happens
network    nodes in network namespaces behind links of a given rate
nginx      an HTTP server whose configuration is written here
memory     files in memory, and memory that the hypervisor does not take away between two runs

A benchmark is a program in scripts/bench.d whose first comment or docstring line says what it measures:

    def measure(args):
        with Supervisor() as programs, Network(["origin", "n0"], rate="200mbit") as net:
            ...
            return {"vs_ideal": 1.07}

    if __name__ == "__main__":
        run_benchmark(__doc__, measure)
"""

from benchlib.memory import available_memory, memory_files, steady_memory
from benchlib.network import Network
from benchlib.nginx import Nginx
from benchlib.processes import Process, Supervisor, cpu_seconds, free_ports, rss_anon, wait_until
from benchlib.report import (BenchFailure, Summary, format_rate, machine, parse_rate, print_machine,
                             print_table, run_benchmark, summarize)

__all__ = ["BenchFailure", "Network", "Nginx", "Process", "Summary", "Supervisor",
           "available_memory", "cpu_seconds", "format_rate", "free_ports", "machine",
           "memory_files", "parse_rate", "print_machine", "print_table", "rss_anon",
           "run_benchmark", "steady_memory", "summarize", "wait_until"]
