export interface CacheOptions {
  ttlMs?: number;
  maxEntries?: number;
}

interface Entry {
  value: unknown;
  expiresAt: number;
}

export type CacheEvent = { kind: "set" | "invalidated"; key: string };

export class Cache {
  private entries = new Map<string, Entry>();
  private listeners = new Set<(event: CacheEvent) => void>();
  private readonly ttlMs: number;
  private readonly maxEntries: number;

  constructor({ ttlMs = 60_000, maxEntries = 500 }: CacheOptions = {}) {
    this.ttlMs = ttlMs;
    this.maxEntries = maxEntries;
  }

  get<T>(key: string): T | null {
    const entry = this.entries.get(key);
    if (!entry) return null;
    if (entry.expiresAt < Date.now()) {
      this.entries.delete(key);
      return null;
    }
    return entry.value as T;
  }

  set(key: string, value: unknown, ttlMs = this.ttlMs) {
    if (this.entries.size >= this.maxEntries) {
      const oldest = this.entries.keys().next().value;
      if (oldest !== undefined) this.entries.delete(oldest);
    }
    this.entries.set(key, { value, expiresAt: Date.now() + ttlMs });
    this.notify({ kind: "set", key });
  }

  async getOrLoad<T>(key: string, load: () => Promise<T>, ttlMs?: number): Promise<T> {
    const cached = this.get<T>(key);
    if (cached !== null) return cached;
    const value = await load();
    this.set(key, value, ttlMs);
    return value;
  }

  invalidate(pattern: string | RegExp) {
    const matches = (key: string) =>
      typeof pattern === "string" ? key.startsWith(pattern) : pattern.test(key);
    for (const key of [...this.entries.keys()]) {
      if (!matches(key)) continue;
      this.entries.delete(key);
      this.notify({ kind: "invalidated", key });
    }
  }

  clear() {
    this.entries.clear();
  }

  subscribe(listener: (event: CacheEvent) => void) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  get size() {
    return this.entries.size;
  }

  private notify(event: CacheEvent) {
    for (const listener of this.listeners) listener(event);
  }
}
