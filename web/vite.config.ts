/* How the page is built: everything into hashed files of its own, nothing inline, nothing from elsewhere. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/* Theme and language must be known before the first paint, so this small script runs before the page's own. */
function bootScript(): Plugin {
  const source = new URL("./src/boot.js", import.meta.url);
  const text = () => readFileSync(source, "utf8").replace(/^\/\*[\s\S]*?\*\/\s*/, "");
  const name = () => `assets/boot-${createHash("sha256").update(text()).digest("hex").slice(0, 8)}.js`;
  let building = false;
  return {
    name: "sonde-boot",
    configResolved(config) {
      building = config.command === "build";
    },
    generateBundle() {
      this.emitFile({ type: "asset", fileName: name(), source: text() });
    },
    transformIndexHtml: () => [
      { tag: "script", attrs: { src: building ? `/${name()}` : "/src/boot.js" }, injectTo: "head-prepend" },
    ],
  };
}

export default defineConfig({
  plugins: [react(), bootScript()],
  build: { target: "es2020", assetsInlineLimit: 0, sourcemap: false, modulePreload: { polyfill: false } },
  server: { proxy: { "/api": { target: "http://127.0.0.1:8080", ws: true }, "/status": "http://127.0.0.1:8080" } },
});
