import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // @idlewild/react is linked from this repository, where it has a React of its own for its tests.
  resolve: { dedupe: ["react", "react-dom"] },
  // `npm run dev`: the page from here, everything else from the example that `start` runs.
  server: { proxy: { "/api": process.env["GUIDE_ORIGIN"] ?? "http://localhost:8080" } },
});
